package tenancy

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"alcove/tenancy/keyspace"
)

// A key is "sk-", 16 characters of public id, "-", and 32 random bytes in base64url.
// Neither tenant nor knowledge base is in it: ids of any length would push random
// bytes past what some hashes look at, and would be told to whoever sees the key.
const (
	keyPrefix       = "sk-"
	keyIDBytes      = 10
	keyIDChars      = 16
	keySecretBytes  = 32
	keySecretChars  = 43
	keyChars        = len(keyPrefix) + keyIDChars + 1 + keySecretChars
	defaultKeyDays  = 90
	maxKeyDays      = 366
	maxKeysOfTenant = 1000
	maxKeyNetworks  = 32
	// A rotated key's old secret works on for a day unless told otherwise, so that what
	// uses it can be changed over one by one.
	defaultOverlapHours = 24
	maxOverlapHours     = 30 * 24
)

var keyIDEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Key is an API key of a tenant, without its secret.
type Key struct {
	ID          string       `json:"key_id"`
	TenantID    string       `json:"tenant_id"`
	Name        string       `json:"key_name"`
	AllKBs      bool         `json:"all_knowledge_bases"`
	KBs         []string     `json:"knowledge_base_ids"` // empty if AllKBs
	Permissions []Permission `json:"permissions"`
	CreatedAt   time.Time    `json:"created_at"`
	ExpiresAt   time.Time    `json:"expires_at"`
	CreatedBy   string       `json:"created_by"`
	// Networks are where it may be used from, in CIDR form; empty is anywhere.
	Networks  []string   `json:"allowed_networks"`
	RotatedAt *time.Time `json:"rotated_at,omitempty"`
	// OldUntil is until when the secret before the last rotation works.
	OldUntil *time.Time `json:"old_secret_until,omitempty"`
	// LastUsedAt and Uses are kept in memory and written once a minute: a stop that was
	// no clean one forgets what came after.
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	Uses       int64      `json:"uses"`
}

// KeyInput is what a new key is made from. Without KBs the key reaches every
// knowledge base of the tenant, which only a caller that does so itself may grant;
// an empty list reaches none. Without Permissions it may ask questions
// (query:run, kb:access). Nobody grants what they do not hold.
type KeyInput struct {
	Name        string       `json:"key_name"`           // required, 1 to 255 characters
	KBs         *[]string    `json:"knowledge_base_ids"` // ["*"] is all, as if absent
	KB          string       `json:"kb_id"`              // the same as KBs with one entry
	Permissions []Permission `json:"permissions"`
	ExpiresAt   *time.Time   `json:"expires_at"`       // in the future, at most 366 days ahead
	ExpiresDays int          `json:"expires_in_days"`  // instead of ExpiresAt; 0 means 90
	Networks    []string     `json:"allowed_networks"` // addresses or networks; at most 32
}

// KeyRotation says how a key gets a new secret.
type KeyRotation struct {
	// OverlapHours is how long the old secret works on: 24 if nil, 0 to 720.
	OverlapHours *int       `json:"overlap_hours"`
	ExpiresAt    *time.Time `json:"expires_at"` // of the new secret, as in KeyInput
	ExpiresDays  int        `json:"expires_in_days"`
}

// NewKey is a key just made. Secret is shown this once and stored nowhere.
type NewKey struct {
	Key
	Secret string `json:"key"`
}

// KeyPage is one page of keys in the order of their ids. An empty NextCursor ends
// the list.
type KeyPage struct {
	Items      []Key  `json:"items"`
	Total      int    `json:"total"`
	NextCursor string `json:"next_cursor,omitempty"`
}

// parseKey takes a key apart by position. Anything that newKeyText would not have
// written is not ok, down to the unused bits of the last character.
func parseKey(text string) (id string, secret []byte, ok bool) {
	if len(text) != keyChars || !strings.HasPrefix(text, keyPrefix) {
		return "", nil, false
	}
	id, rest := text[len(keyPrefix):len(keyPrefix)+keyIDChars], text[len(keyPrefix)+keyIDChars:]
	if _, err := keyIDEncoding.DecodeString(id); err != nil || rest[0] != '-' || strings.ContainsAny(text, "\r\n") {
		return "", nil, false
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(rest[1:])
	return id, secret, err == nil && len(secret) == keySecretBytes
}

func keyText(id string, secret []byte) string {
	return keyPrefix + id + "-" + base64.RawURLEncoding.EncodeToString(secret)
}

// keyDigest is what is stored of a key. A fast hash is right here: the secret is 256
// random bits, and a slow one would cost every request what it was made to cost a
// guesser of passwords.
func keyDigest(pepper []byte, id string, secret []byte) [sha256.Size]byte {
	m := hmac.New(sha256.New, pepper)
	m.Write([]byte("alcove api key v1\x00"))
	m.Write([]byte(id)) // of fixed length
	m.Write(secret)
	return [sha256.Size]byte(m.Sum(nil))
}

// entry is the record as requests ask it.
func (r keyRecord) entry() (*keyEntry, error) {
	held, err := rightsFrom("permissions", r.Key.Permissions)
	if err != nil || len(r.Digest) != sha256.Size || len(r.KBs) != len(r.Key.KBs) || !slices.IsSorted(r.Key.KBs) {
		return nil, fmt.Errorf("%w: key %s", ErrDamaged, r.Key.ID)
	}
	networks, err := parseNetworks(r.Key.Networks)
	if err != nil || len(r.OldDigest) != 0 && len(r.OldDigest) != sha256.Size {
		return nil, fmt.Errorf("%w: key %s", ErrDamaged, r.Key.ID)
	}
	e := &keyEntry{
		tenant: r.Tenant, digest: [sha256.Size]byte(r.Digest), expires: r.Key.ExpiresAt, networks: networks,
		who: &identity{
			name: "key:" + r.Key.ID, tenant: r.Key.TenantID, rights: held, allKBs: r.Key.AllKBs,
			kbs: r.Key.KBs, numbers: r.KBs, expires: r.Key.ExpiresAt,
		},
	}
	if len(r.OldDigest) != 0 && r.Key.OldUntil != nil {
		e.old, e.oldUntil = [sha256.Size]byte(r.OldDigest), *r.Key.OldUntil
	}
	return e, nil
}

// parseNetworks reads addresses and networks; each has one spelling.
func parseNetworks(list []string) ([]netip.Prefix, error) {
	const field = "allowed_networks"
	if len(list) > maxKeyNetworks {
		return nil, badField(field, fmt.Sprintf("more than %d", maxKeyNetworks))
	}
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if a, aerr := netip.ParseAddr(s); aerr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p != p.Masked() || p.Addr().Is4In6() {
			return nil, badField(field, "must be addresses or networks such as 10.0.0.0/8, not "+quoteShort(s))
		}
		out = append(out, p)
	}
	return out, nil
}

// mayComeFrom reports whether the key may be used from an address. A request whose
// address is not known may use only a key that works from anywhere.
func (e *keyEntry) mayComeFrom(a netip.Addr) bool {
	return len(e.networks) == 0 || slices.ContainsFunc(e.networks, func(p netip.Prefix) bool { return p.Contains(a) })
}

// grant works out what a new key shall hold, and refuses what its maker does not.
func (in KeyInput) grant(p Principal, tenant string, now time.Time) (Key, error) {
	k := Key{TenantID: tenant, Name: in.Name, CreatedAt: now, CreatedBy: p.Name()}
	if err := checkName("key_name", in.Name); err != nil {
		return k, err
	}
	ids := in.KBs
	if in.KB != "" {
		if ids != nil {
			return k, badField("kb_id", "give kb_id or knowledge_base_ids, not both")
		}
		ids = &[]string{in.KB}
	}
	k.AllKBs = ids == nil
	if ids != nil {
		var err error
		if k.KBs, k.AllKBs, err = kbList("knowledge_base_ids", *ids); err != nil {
			return k, err
		}
	}
	if k.KBs == nil {
		k.KBs = []string{}
	}
	if in.Permissions == nil {
		in.Permissions = []Permission{PermKBAccess, PermQueryRun}
	}
	if len(in.Permissions) == 0 {
		return k, badField("permissions", "must not be empty")
	}
	asked, err := rightsFrom("permissions", in.Permissions)
	if err != nil {
		return k, err
	}
	k.Permissions = asked.list()
	if k.ExpiresAt, err = keyExpiry(in.ExpiresAt, in.ExpiresDays, now); err != nil {
		return k, err
	}
	networks, err := parseNetworks(in.Networks)
	if err != nil {
		return k, err
	}
	k.Networks = []string{}
	for _, p := range networks {
		k.Networks = append(k.Networks, p.String())
	}
	return k, p.grants(asked, k.KBs, k.AllKBs)
}

// keyExpiry is when a key made now ends.
func keyExpiry(at *time.Time, days int, now time.Time) (time.Time, error) {
	switch {
	case at != nil && days != 0:
		return time.Time{}, badField("expires_at", "give expires_at or expires_in_days, not both")
	case at != nil:
		if !at.After(now) || at.After(now.AddDate(0, 0, maxKeyDays)) {
			return time.Time{}, badField("expires_at", fmt.Sprintf("must be in the future and at most %d days ahead", maxKeyDays))
		}
		return at.UTC(), nil
	case days < 0 || days > maxKeyDays:
		return time.Time{}, badField("expires_in_days", fmt.Sprintf("must be from 1 to %d; 0 means %d", maxKeyDays, defaultKeyDays))
	case days == 0:
		days = defaultKeyDays
	}
	return now.AddDate(0, 0, days), nil
}

// CreateKey makes a key of a tenant; it takes tenant:manage. The answer holds the
// secret, which cannot be shown again. A permission or a knowledge base that the
// caller does not hold is ErrDenied, a knowledge base that does not exist a
// *FieldError; more than 1,000 keys is ErrQuota.
func (s *Store) CreateKey(ctx context.Context, p Principal, tenant string, in KeyInput) (NewKey, error) {
	t, err := s.authorise(p, tenant, "", PermTenantManage)
	if err != nil {
		return NewKey{}, err
	}
	k, err := in.grant(p, tenant, s.stamp())
	if err != nil {
		return NewKey{}, err
	}
	k.ID = keyIDEncoding.EncodeToString(randomBytes(keyIDBytes))
	secret := randomBytes(keySecretBytes)
	digest := keyDigest(s.pepper, k.ID, secret)
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		r, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		kbs, err := s.numbersOf(tx, t, p, k.KBs)
		if err != nil {
			return err
		}
		if r.Keys >= maxKeysOfTenant {
			return &QuotaError{Quota: "api keys", Limit: maxKeysOfTenant, Used: int64(r.Keys)}
		}
		r.Keys++
		err = firstError(
			setJSON(tx, kindTenant, u64(t.number), r),
			setJSON(tx, kindKey, []byte(k.ID), keyRecord{Tenant: t.number, Digest: digest[:], Key: k, KBs: kbs}),
			tx.Set(keyspace.System, kindKeyOf, under(t.number, k.ID), nil),
		)
		if err != nil {
			return err
		}
		scope := strings.Join(k.KBs, " ")
		if k.AllKBs {
			scope = "*"
		}
		return s.append(ctx, tx, t.number, event{
			actor: p.Name(), action: "api_key_created", resourceType: "api_key", resourceID: k.ID,
			details: map[string]string{"permissions": joined(k.Permissions), "knowledge_bases": scope, "expires": k.ExpiresAt.Format(time.RFC3339)},
		})
	}, s.cat.refreshKey(k.ID))
	if err != nil {
		return NewKey{}, fmt.Errorf("create key: %w", err)
	}
	return NewKey{Key: k, Secret: keyText(k.ID, secret)}, nil
}

func joined(ps []Permission) string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = string(p)
	}
	return strings.Join(out, " ")
}

// Keys returns one page of a tenant's keys; it takes tenant:manage.
func (s *Store) Keys(ctx context.Context, p Principal, tenant string, q PageRequest) (KeyPage, error) {
	t, err := s.authorise(p, tenant, "", PermTenantManage)
	if err != nil {
		return KeyPage{}, err
	}
	limit, err := q.limit()
	if err != nil {
		return KeyPage{}, err
	}
	page := KeyPage{Items: []Key{}}
	err = s.view(ctx, func(tx *keyspace.Tx) error {
		r, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		page.Total = r.Keys
		ids, next, err := pageOf(tx, kindKeyOf, u64(t.number), q.Cursor, limit)
		if err != nil {
			return err
		}
		page.NextCursor = next
		for _, id := range ids {
			var k keyRecord
			if err := indexed(getJSON(tx, kindKey, []byte(id), &k)); err != nil {
				return err
			}
			if page.Items = append(page.Items, k.Key); k.Key.Networks == nil { // made before there were any
				page.Items[len(page.Items)-1].Networks = []string{}
			}
			s.cat.useOf(&page.Items[len(page.Items)-1])
		}
		return nil
	})
	if err != nil {
		return KeyPage{}, fmt.Errorf("list keys: %w", err)
	}
	return page, nil
}

// RotateKey gives a key a new secret under its old id and a new end; the old secret works
// on for the overlap, at most until its own end, and the one before that not at all. It
// takes tenant:manage and, since the answer holds the secret, all that the key holds:
// nobody gets by rotating what they could not grant.
func (s *Store) RotateKey(ctx context.Context, p Principal, tenant, id string, in KeyRotation) (NewKey, error) {
	t, err := s.authorise(p, tenant, "", PermTenantManage)
	if err != nil {
		return NewKey{}, err
	}
	overlap := defaultOverlapHours
	if in.OverlapHours != nil {
		overlap = *in.OverlapHours
	}
	if overlap < 0 || overlap > maxOverlapHours {
		return NewKey{}, badField("overlap_hours", fmt.Sprintf("must be from 0 to %d", maxOverlapHours))
	}
	now := s.stamp()
	expires, err := keyExpiry(in.ExpiresAt, in.ExpiresDays, now)
	if err != nil {
		return NewKey{}, err
	}
	if len(id) != keyIDChars {
		return NewKey{}, fmt.Errorf("key: %w", ErrNotFound)
	}
	secret := randomBytes(keySecretBytes)
	digest := keyDigest(s.pepper, id, secret)
	var out Key
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		if _, err := s.tenantStill(tx, t); err != nil {
			return err
		}
		if _, err := tx.Get(keyspace.System, kindKeyOf, under(t.number, id)); err != nil {
			return err
		}
		var r keyRecord
		if err := indexed(getJSON(tx, kindKey, []byte(id), &r)); err != nil {
			return err
		}
		held, err := rightsFrom("permissions", r.Key.Permissions)
		if err != nil {
			return fmt.Errorf("%w: key %s", ErrDamaged, id)
		}
		if err := p.grants(held, r.Key.KBs, r.Key.AllKBs); err != nil {
			return err
		}
		until := now.Add(time.Duration(overlap) * time.Hour)
		if r.Key.ExpiresAt.Before(until) {
			until = r.Key.ExpiresAt
		}
		r.OldDigest, r.Key.OldUntil = r.Digest, &until
		if !until.After(now) {
			r.OldDigest, r.Key.OldUntil = nil, nil
		}
		r.Digest, r.Key.RotatedAt, r.Key.ExpiresAt = digest[:], &now, expires
		if err := setJSON(tx, kindKey, []byte(id), r); err != nil {
			return err
		}
		out = r.Key
		return s.append(ctx, tx, t.number, event{actor: p.Name(), action: "api_key_rotated", resourceType: "api_key", resourceID: id,
			details: map[string]string{"old_secret_until": until.Format(time.RFC3339), "expires": expires.Format(time.RFC3339)}})
	}, s.cat.refreshKey(id))
	if err != nil {
		return NewKey{}, fmt.Errorf("rotate key: %w", err)
	}
	if out.Networks == nil {
		out.Networks = []string{}
	}
	s.cat.useOf(&out)
	return NewKey{Key: out, Secret: keyText(id, secret)}, nil
}

// DeleteKey revokes a key of a tenant: the next call with it is refused. It takes
// tenant:manage. A key that does not exist or is another tenant's is ErrNotFound.
func (s *Store) DeleteKey(ctx context.Context, p Principal, tenant, id string) error {
	t, err := s.authorise(p, tenant, "", PermTenantManage)
	if err != nil {
		return err
	}
	if len(id) != keyIDChars {
		return fmt.Errorf("key: %w", ErrNotFound)
	}
	err = s.change(ctx, func(tx *keyspace.Tx) error {
		r, err := s.tenantStill(tx, t)
		if err != nil {
			return err
		}
		if _, err := tx.Get(keyspace.System, kindKeyOf, under(t.number, id)); err != nil {
			return err
		}
		r.Keys--
		err = firstError(
			setJSON(tx, kindTenant, u64(t.number), r),
			tx.Delete(keyspace.System, kindKey, []byte(id)),
			tx.Delete(keyspace.System, kindKeyOf, under(t.number, id)),
			tx.Delete(keyspace.System, kindKeyUse, []byte(id)),
		)
		if err != nil {
			return err
		}
		return s.append(ctx, tx, t.number, event{actor: p.Name(), action: "api_key_revoked", resourceType: "api_key", resourceID: id})
	}, s.cat.refreshKey(id))
	if err != nil {
		return fmt.Errorf("delete key: %w", err)
	}
	return nil
}
