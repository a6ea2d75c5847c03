package tenancy

import "strings"

// Permission is one right, in the wire's spelling.
type Permission string

// The permissions, as ADR 007 and the design sources behind it name them.
const (
	PermTenantManage   Permission = "tenant:manage"
	PermTenantMembers  Permission = "tenant:manage_members"
	PermTenantBilling  Permission = "tenant:manage_billing"
	PermKBCreate       Permission = "kb:create"
	PermKBDelete       Permission = "kb:delete"
	PermKBManage       Permission = "kb:manage"
	PermKBAccess       Permission = "kb:access"
	PermDocumentCreate Permission = "document:create"
	PermDocumentUpdate Permission = "document:update"
	PermDocumentDelete Permission = "document:delete"
	PermDocumentRead   Permission = "document:read"
	PermQueryRun       Permission = "query:run"

	// PermSystemAdmin is what acts on tenants as such need. Only the system role
	// holds it; no key and no narrowing list can name it.
	PermSystemAdmin Permission = "system:admin"
)

// Role is a named set of permissions.
type Role string

// The roles. RoleSystem lives outside tenants and holds everything in all of them;
// RoleAccount lives there too and holds nothing: it is what somebody has who may only
// choose a password or who is a member of no tenant.
const (
	RoleAdmin    Role = "admin"
	RoleEditor   Role = "editor"
	RoleViewer   Role = "viewer"
	RoleReadOnly Role = "viewer:read-only"
	RoleSystem   Role = "system"
	RoleAccount  Role = "account"
)

// rights is a set of permissions, one bit each, in the order of permissionBits.
type rights uint16

// permissionBits gives each permission that can be granted its bit. The order is
// that of the constants and is not stored anywhere.
var permissionBits = map[Permission]rights{
	PermTenantManage: 1 << 0, PermTenantMembers: 1 << 1, PermTenantBilling: 1 << 2,
	PermKBCreate: 1 << 3, PermKBDelete: 1 << 4, PermKBManage: 1 << 5, PermKBAccess: 1 << 6,
	PermDocumentCreate: 1 << 7, PermDocumentUpdate: 1 << 8, PermDocumentDelete: 1 << 9,
	PermDocumentRead: 1 << 10, PermQueryRun: 1 << 11,
}

// grantable lists the permissions a role, a token or a key may hold, in the
// order in which they are shown.
var grantable = []Permission{
	PermTenantManage, PermTenantMembers, PermTenantBilling,
	PermKBCreate, PermKBDelete, PermKBManage, PermKBAccess,
	PermDocumentCreate, PermDocumentUpdate, PermDocumentDelete, PermDocumentRead, PermQueryRun,
}

const allRights = rights(1<<12 - 1)

// roleRights is the matrix: what each role of a tenant may do before an explicit
// list narrows it. An editor may delete a KB but not manage it: so the design says.
var roleRights = map[Role]rights{
	RoleAdmin: allRights,
	RoleEditor: setOf(PermKBCreate, PermKBDelete, PermKBAccess, PermDocumentCreate, PermDocumentUpdate,
		PermDocumentDelete, PermDocumentRead, PermQueryRun),
	RoleViewer:   setOf(PermKBAccess, PermDocumentRead, PermQueryRun),
	RoleReadOnly: setOf(PermKBAccess, PermQueryRun),
	RoleSystem:   allRights,
	RoleAccount:  0,
}

// writes is what lets a Space commit.
var writes = setOf(PermKBManage, PermKBDelete, PermDocumentCreate, PermDocumentUpdate, PermDocumentDelete)

// ofTenant is what is asked of a tenant as a whole; every other permission is
// asked of one KB and needs that KB in the caller's reach.
var ofTenant = setOf(PermTenantManage, PermTenantMembers, PermTenantBilling, PermKBCreate)

func setOf(ps ...Permission) rights {
	var r rights
	for _, p := range ps {
		r |= permissionBits[p]
	}
	return r
}

// has reports whether the set holds p. A permission that is not one of ours is
// held by nobody.
func (r rights) has(p Permission) bool { return r&permissionBits[p] != 0 }

// list returns the set in the order in which permissions are shown, never nil.
func (r rights) list() []Permission {
	out := make([]Permission, 0, len(grantable))
	for _, p := range grantable {
		if r.has(p) {
			out = append(out, p)
		}
	}
	return out
}

// rightsFrom reads an explicit list; an unknown name or one said twice is a
// *FieldError on field.
func rightsFrom(field string, ps []Permission) (rights, error) {
	var r rights
	for _, p := range ps {
		bit, ok := permissionBits[p]
		if !ok {
			return 0, badField(field, "unknown permission "+quoteShort(string(p)))
		}
		if r&bit != 0 {
			return 0, badField(field, "permission given twice: "+string(p))
		}
		r |= bit
	}
	return r, nil
}

// quoteShort makes a caller's text fit for an error message: short, printable, quoted.
func quoteShort(s string) string {
	const most = 40
	s = strings.ToValidUTF8(s, "?")
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '"' {
			return '?'
		}
		return r
	}, "“"+s+"”")
}
