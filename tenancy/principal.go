package tenancy

import (
	"slices"
	"time"
)

// Principal is who asks. It only comes out of Store.Authenticate; the zero
// Principal has no rights at all. It stands for the credential as it was when it
// was verified, so it is made anew for each request and not kept.
type Principal struct {
	who *identity
}

// identity is what a verified credential says. It is never changed once made.
type identity struct {
	name   string // "key:<id>", "user:<sub>"
	tenant string // "" for the system role
	system bool
	// narrowed says that a system credential carries an explicit list: it then
	// holds that and no longer PermSystemAdmin.
	narrowed bool
	role     Role // "" for keys
	rights   rights
	allKBs   bool
	kbs      []string // sorted
	// numbers are those of kbs, for keys: see means.
	numbers []uint64
	// issued is when a token was made, zero for keys: a token made before its
	// tenant or its knowledge base was is from an earlier one of that id.
	issued  time.Time
	jti     string
	expires time.Time // of a token
	user    string    // the subject of a token
	// account and member are the versions under which it was made: see claims.
	account, member uint64
}

// Name returns who this is, for logs and audit records: "key:<id>" or "user:<subject>".
func (p Principal) Name() string {
	if p.who == nil {
		return "nobody"
	}
	return p.who.name
}

// Tenant returns the one tenant this principal belongs to, "" for a system admin.
func (p Principal) Tenant() string {
	if p.who == nil {
		return ""
	}
	return p.who.tenant
}

// System reports whether this is a system admin, who lives outside tenants.
func (p Principal) System() bool { return p.who != nil && p.who.system }

// Role returns the role of a token, "" for a key.
func (p Principal) Role() Role {
	if p.who == nil {
		return ""
	}
	return p.who.role
}

// Permissions returns what this principal holds, the role's rights already
// narrowed. The slice is the caller's.
func (p Principal) Permissions() []Permission {
	if p.who == nil {
		return []Permission{}
	}
	ps := p.who.rights.list()
	if p.who.system && !p.who.narrowed {
		ps = append(ps, PermSystemAdmin)
	}
	return ps
}

// TokenID returns the jti of a token, "" for a key.
func (p Principal) TokenID() string {
	if p.who == nil {
		return ""
	}
	return p.who.jti
}

// OfItsTenant asks only that the caller belongs to the tenant, whatever its rights. It
// is no permission: nobody can be granted it.
const OfItsTenant Permission = ""

// holds is the one place where a right is decided: the role's or key's rights,
// already narrowed, in this tenant, on this knowledge base. It looks at the
// credential alone, so its answer and its work are the same whether or not the
// tenant and the knowledge base exist. kb is not looked at for what is asked of a
// tenant as a whole.
func (p Principal) holds(tenant, kb string, perm Permission) bool {
	switch w := p.who; {
	case w == nil:
		return false
	case w.system:
		return (!w.narrowed && (perm == PermSystemAdmin || perm == OfItsTenant)) || w.rights.has(perm)
	case w.tenant != tenant || tenant == "":
		return false
	case perm == OfItsTenant:
		return true
	default:
		return w.rights.has(perm) && (ofTenant.has(perm) || p.reaches(kb))
	}
}

// grants returns nil if p holds all of held and reaches the knowledge bases it is to be
// given on, and else a *DeniedError: nobody grants what they do not hold. It is asked
// once the right to grant at all is decided.
func (p Principal) grants(held rights, kbs []string, all bool) error {
	if missing := held &^ p.who.rights; missing != 0 {
		return denied(missing.list()[0])
	}
	if all && !p.who.allKBs {
		return denied(PermKBAccess)
	}
	for _, id := range kbs {
		if !p.reaches(id) {
			return denied(PermKBAccess)
		}
	}
	return nil
}

// reaches reports whether kb is in the credential's list.
func (p Principal) reaches(kb string) bool {
	if p.who.system || p.who.allKBs {
		return true
	}
	_, ok := slices.BinarySearch(p.who.kbs, kb)
	return ok
}

// means reports whether the live knowledge base of an id in the credential's list is
// the one that stood there when the credential was made, and not a later one of the
// same id. It is asked once the right is decided: until then work must not depend on
// what exists.
func (p Principal) means(k *kbEntry) bool {
	w := p.who
	if w.system || w.allKBs {
		return true
	}
	i, ok := slices.BinarySearch(w.kbs, k.id)
	if !ok {
		return false
	}
	if w.issued.IsZero() {
		return w.numbers[i] == k.number
	}
	return w.issued.Unix() >= k.created.Unix()
}

// kbList reads a list of knowledge base ids as tokens and keys carry it: ["*"] is
// all of them, none is none.
func kbList(field string, ids []string) (kbs []string, all bool, err error) {
	if len(ids) == 1 && ids[0] == "*" {
		return nil, true, nil
	}
	if len(ids) > maxKBsOfCredential {
		return nil, false, badField(field, "too many entries")
	}
	for _, id := range ids {
		if err := CheckID(field, id); err != nil {
			return nil, false, err
		}
	}
	kbs = slices.Sorted(slices.Values(ids))
	return slices.Compact(kbs), false, nil
}
