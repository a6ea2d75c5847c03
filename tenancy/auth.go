package tenancy

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"alcove/tenancy/keyspace"
)

// Credential is what a request brings along, as it stood in its headers.
type Credential struct {
	// Bearer is what followed "Bearer " in the Authorization header. A request whose
	// Authorization header is of another scheme or empty must not be handed over as
	// one without: put what the header holds here.
	Bearer string
	APIKey string // the X-API-Key header
	// Addr is where the request came from, proxies that are trusted put aside.
	Addr netip.Addr
}

// Authenticate returns who a credential stands for, or ErrUnauthenticated, which is
// the same whatever was wrong. A bearer that begins with "sk-" is a key: that is how
// OpenAI's clients send theirs. One credential per request: a bad bearer never falls
// back to the key, and both at once are refused, since two credentials are two
// principals and none of them would be the one the caller meant. None at all is refused
// unless Options.Everybody says who that is.
//
// The first use of a token made at the command line is recorded in the server's own
// audit chain before this returns; any other error than ErrUnauthenticated says that
// this could not be done. Safe for concurrent use.
func (s *Store) Authenticate(ctx context.Context, c Credential) (Principal, error) {
	switch {
	case c.Bearer != "" && c.APIKey != "":
		return Principal{}, ErrUnauthenticated
	case c.APIKey != "":
		return s.byKey(c.APIKey, c.Addr)
	case strings.HasPrefix(c.Bearer, keyPrefix):
		return s.byKey(c.Bearer, c.Addr)
	case c.Bearer != "":
		return s.byToken(ctx, c.Bearer)
	case s.opt.Everybody != "":
		return Principal{&identity{name: "everybody", tenant: s.opt.Everybody, role: RoleAdmin, rights: roleRights[RoleAdmin], allKBs: true}}, nil
	}
	return Principal{}, ErrUnauthenticated
}

// byKey finds a key by its public id and compares in constant time, always with two
// digests: the secret's and that of the one before a rotation. An unknown id costs the
// same work as a wrong secret.
func (s *Store) byKey(text string, from netip.Addr) (Principal, error) {
	id, secret, ok := parseKey(text)
	if !ok {
		return Principal{}, ErrUnauthenticated
	}
	entry := s.cat.key(id)
	known := entry != nil
	if !known {
		entry = &s.noKey
	}
	got, now := keyDigest(s.pepper, id, secret), s.now()
	current := subtle.ConstantTimeCompare(got[:], entry.digest[:]) == 1
	former := subtle.ConstantTimeCompare(got[:], entry.old[:]) == 1
	if !current && !(former && now.Before(entry.oldUntil)) ||
		!known || current && !now.Before(entry.expires) || !entry.mayComeFrom(from) {
		return Principal{}, ErrUnauthenticated
	}
	s.uses.note(id, entry.use, now)
	return Principal{entry.who}, nil
}

func (s *Store) byToken(ctx context.Context, text string) (Principal, error) {
	who, err := verifyToken(s.tokens, s.keys.Load(), text)
	if err != nil || s.cat.token(tokenMark{markRevoked, who.jti}) || !s.cat.stands(who) {
		return Principal{}, ErrUnauthenticated
	}
	if strings.HasPrefix(who.jti, cliTokenPrefix) && !s.cat.token(tokenMark{markSeen, who.jti}) {
		if err := s.noteFirstUse(ctx, who); err != nil {
			return Principal{}, err
		}
	}
	return Principal{who}, nil
}

// noteFirstUse records that a token made at the command line is now used. On a full
// disk it only logs: reads go on there, and an admin has to get in to make room.
func (s *Store) noteFirstUse(ctx context.Context, who *identity) error {
	mark := tokenMark{markSeen, who.jti}
	err := s.change(ctx, func(tx *keyspace.Tx) error {
		if err := forgetTokens(tx, s.now()); err != nil {
			return err
		}
		n, err := number(tx, kindToken, mark.key())
		if err != nil || n != 0 {
			return err // somebody else's first use was first
		}
		if err := setTokenMark(tx, mark, who.expires); err != nil {
			return err
		}
		return s.append(ctx, tx, systemChain, event{
			actor: who.name, action: "cli_token_used", resourceType: "token", resourceID: who.jti,
			details: map[string]string{"role": string(who.role), "expires": who.expires.UTC().Format(time.RFC3339)},
		})
	}, s.cat.refreshToken(mark, s.now()))
	if errors.Is(err, ErrDiskFull) {
		s.log.Warn("the first use of a command-line token could not be recorded", "actor", who.name, "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("record first use of a token: %w", err)
	}
	return nil
}

// MintToken signs a token with the store's own secret and default lifetime. See
// TokenMinter for doing so without a store.
func (s *Store) MintToken(q TokenRequest) (string, error) {
	if q.TTL == 0 {
		q.TTL = s.opt.TokenTTL
	}
	return mint(s.keys.Load(), s.now(), q)
}

// RevokeToken makes a token worthless from the next call on. A caller may revoke its
// own; another's takes a system admin. That the jti is known is not asked: a token
// leaves no trace when it is made.
func (s *Store) RevokeToken(ctx context.Context, p Principal, jti string) error {
	if !plainWord(jti, maxJTIBytes, "_-") {
		return badField("jti", "malformed")
	}
	end := s.now().Add(maxTokenTTL + tokenLeeway)
	switch {
	case p.who != nil && p.who.jti == jti:
		end = p.who.expires.Add(tokenLeeway)
	case !p.holds("", "", PermSystemAdmin):
		return denied(PermSystemAdmin)
	}
	mark := tokenMark{markRevoked, jti}
	err := s.change(ctx, func(tx *keyspace.Tx) error {
		if err := forgetTokens(tx, s.now()); err != nil {
			return err
		}
		if err := setTokenMark(tx, mark, end); err != nil {
			return err
		}
		return s.append(ctx, tx, systemChain, event{actor: p.Name(), action: "token_revoked", resourceType: "token", resourceID: jti})
	}, s.cat.refreshToken(mark, s.now()))
	if err != nil {
		return fmt.Errorf("revoke token %s: %w", jti, err)
	}
	return nil
}

// RotateSecret replaces the token secret kept in Options.Dir: every token made before
// is worthless from now on. Keys are not touched. A secret that was configured is not
// ours to replace: that is an ErrBadInput that names TOKEN_SECRET.
func (s *Store) RotateSecret(ctx context.Context) error {
	if s.opt.TokenKeys != nil {
		return badField("JWT_ALGORITHM", "is one with key files; put another key in TOKEN_KEY_FILE")
	}
	if s.source.Configured {
		return badField("TOKEN_SECRET", "is configured; change it there")
	}
	// The record first: it says that it was tried even if the file cannot be written.
	err := s.db.Commit(ctx, func(tx *keyspace.Tx) error {
		return s.append(ctx, tx, systemChain, event{actor: "cli", action: "token_secret_rotated", resourceType: "server"})
	})
	if err != nil {
		return fmt.Errorf("rotate token secret: %w", err)
	}
	secret, err := replaceSecret(s.opt.Dir, tokenSecretFile)
	if err != nil {
		return err
	}
	s.keys.Store(SecretKeys(secret))
	return notePrint(s.opt.Dir, secret)
}

// The marks a token can have.
const (
	markRevoked = 'r'
	markSeen    = 'c'
)

// tokenMark is one thing remembered of one token.
type tokenMark struct {
	mark byte
	jti  string
}

func (m tokenMark) key() []byte { return append([]byte{m.mark}, m.jti...) }

func readTokenMark(rest []byte) (tokenMark, error) {
	if len(rest) < 2 {
		return tokenMark{}, fmt.Errorf("%w: token mark of %d bytes", ErrDamaged, len(rest))
	}
	return tokenMark{rest[0], string(rest[1:])}, nil
}

// setTokenMark remembers m until end.
func setTokenMark(tx *keyspace.Tx, m tokenMark, end time.Time) error {
	if old, err := number(tx, kindToken, m.key()); err != nil {
		return err
	} else if old != 0 {
		if err := tx.Delete(keyspace.System, kindTokenEnd, append(u64(old), m.key()...)); err != nil {
			return err
		}
	}
	unix := uint64(end.Unix()) + 1
	if err := tx.Set(keyspace.System, kindToken, m.key(), u64(unix)); err != nil {
		return err
	}
	return tx.Set(keyspace.System, kindTokenEnd, append(u64(unix), m.key()...), nil)
}

// forgetTokensAtOnce bounds what one revocation cleans up: more than one comes in, so
// that the list stays as long as the tokens that can still be used.
const forgetTokensAtOnce = 64

// forgetTokens drops marks of tokens that have expired by themselves.
func forgetTokens(tx *keyspace.Tx, now time.Time) error {
	var dead [][]byte
	err := tx.Scan(keyspace.System, kindTokenEnd, keyspace.Scan{Limit: forgetTokensAtOnce, KeysOnly: true}, func(rest, _ []byte) error {
		if len(rest) < 10 {
			return fmt.Errorf("%w: token end of %d bytes", ErrDamaged, len(rest))
		}
		if beU64(rest[:8]) >= uint64(now.Unix()) {
			return ErrStop
		}
		dead = append(dead, append([]byte(nil), rest...))
		return nil
	})
	if err != nil {
		return err
	}
	for _, rest := range dead {
		if err := tx.Delete(keyspace.System, kindTokenEnd, rest); err != nil {
			return err
		}
		if err := tx.Delete(keyspace.System, kindToken, rest[8:]); err != nil {
			return err
		}
	}
	return nil
}

// refreshToken copies what the store now says of a token, and drops from memory a few
// that have expired.
func (c *catalogue) refreshToken(m tokenMark, now time.Time) func(*keyspace.Tx) error {
	return func(tx *keyspace.Tx) error {
		end, err := number(tx, kindToken, m.key())
		if err != nil {
			return err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if end == 0 {
			delete(c.tokens, m)
		} else {
			c.tokens[m] = time.Unix(int64(end), 0)
		}
		looked := 0
		for old, end := range c.tokens {
			if looked++; looked > forgetTokensAtOnce {
				break
			}
			if end.Before(now) {
				delete(c.tokens, old)
			}
		}
		return nil
	}
}
