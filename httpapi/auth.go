package httpapi

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"unicode/utf8"

	"alcove/tenancy"
)

// caller is what a credential says of its holder.
type caller struct {
	Name        string               `json:"name"` // key:ID or user:SUBJECT
	TenantID    string               `json:"tenant_id,omitempty"`
	System      bool                 `json:"system_admin"`
	Role        tenancy.Role         `json:"role,omitempty"`
	Permissions []tenancy.Permission `json:"permissions"`
	AllKBs      bool                 `json:"all_knowledge_bases"`
	KBs         []string             `json:"knowledge_base_ids"`
}

func (s *Server) whoAmI(w http.ResponseWriter, _ *http.Request, who tenancy.Principal) error {
	kbs, all := s.o.Store.Reach(who)
	return success(w, caller{who.Name(), who.Tenant(), who.System(), who.Role(), who.Permissions(), all, kbs})
}

// maxSignInBody is what a name and a password take with room to spare: who is nobody yet
// may not make the server read more.
const maxSignInBody = 8 << 10

// signIn answers a name and a password with a token. JSON is answered as all that is
// managed, in the envelope; a form is the password grant of OAuth 2 and is answered as
// RFC 6749 section 5.1 has it, which is what clients that send forms understand.
func (s *Server) signIn(w http.ResponseWriter, r *http.Request) error {
	in, form, err := s.readSignIn(r)
	if err != nil {
		return err
	}
	session, err := s.o.Store.SignIn(r.Context(), in)
	if errors.Is(err, tenancy.ErrUnauthenticated) {
		return errWrongPassword
	}
	if err != nil {
		return err
	}
	if form {
		return bare(w, session)
	}
	return success(w, session)
}

// readSignIn reads a name and a password, from a form or from JSON.
func (s *Server) readSignIn(r *http.Request) (in tenancy.SignIn, form bool, err error) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	form = err == nil && kind == "application/x-www-form-urlencoded"
	if form {
		in, err = s.signInForm(r)
	} else {
		err = s.decodeLimited(r, &in, min(maxSignInBody, s.o.MaxBodyBytes))
	}
	switch {
	case err != nil:
	case in.User == "":
		err = badField("username", "is missing")
	case in.Password == "":
		err = badField("password", "is missing")
	}
	in.Addr = exchangeOf(r.Context()).client
	return in, form, err
}

// signInForm reads the fields of a sign-in as strictly as JSON. What else OAuth 2 lets a
// client send is known and means nothing here.
func (s *Server) signInForm(r *http.Request) (in tenancy.SignIn, err error) {
	if err := plainBody(r); err != nil {
		return in, err
	}
	body, err := s.readBody(r, maxSignInBody)
	if err != nil {
		return in, err
	}
	fields, err := url.ParseQuery(string(body))
	if err != nil {
		return in, badField("body", "is not a form")
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names) // the first fault is the same one each time
	for _, name := range names {
		values := fields[name]
		if len(values) > 1 {
			return in, badField(shorten(name), "is given twice")
		}
		if !utf8.ValidString(values[0]) {
			return in, badField(shorten(name), "is not valid text")
		}
		switch v := values[0]; name {
		case "username":
			in.User = v
		case "password":
			in.Password = v
		case "tenant_id":
			in.Tenant = v
		case "grant_type":
			if v != "password" && v != "" {
				return in, badField(name, "must be password")
			}
		case "scope", "client_id", "client_secret":
		default:
			return in, badField(shorten(name), "is not a known field")
		}
	}
	return in, nil
}

// passwordGrant is what signInForm reads and means something.
type passwordGrant struct {
	GrantType string `json:"grant_type"` // "password", or absent
	User      string `json:"username"`
	Password  string `json:"password"`
	Tenant    string `json:"tenant_id"`
}

// newPassword is the body of PUT /auth/password.
type newPassword struct {
	Old string `json:"old"`
	New string `json:"new"`
}

func (s *Server) changePassword(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	var in newPassword
	if err := s.decodeLimited(r, &in, min(maxSignInBody, s.o.MaxBodyBytes)); err != nil {
		return err
	}
	if err := s.o.Store.ChangePassword(r.Context(), who, in.Old, in.New, exchangeOf(r.Context()).client); err != nil {
		return err
	}
	return success(w, removed{"The password is changed and every token of the account has ended; sign in again."})
}

// revocation is the body of POST /auth/revoke; without one, or an empty one, the token it
// came with ends.
type revocation struct {
	JTI    string `json:"jti"`       // a token's id
	User   string `json:"user"`      // all that an account signed in for
	Tenant string `json:"tenant_id"` // all of a tenant
}

// revokeToken ends tokens. A key is not a token: it is deleted by whoever manages its
// tenant.
func (s *Server) revokeToken(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	var in revocation
	if err := s.decodeOptional(r, &in); err != nil {
		return err
	}
	ctx := r.Context()
	switch n := countSet(in.JTI, in.User, in.Tenant); {
	case n > 1:
		return badField("jti", "give one of jti, user and tenant_id")
	case in.User != "":
		if err := s.o.Store.EndUserTokens(ctx, who, in.User); err != nil {
			return err
		}
		return success(w, removed{"Every token of the account has ended."})
	case in.Tenant != "":
		if err := s.o.Store.EndTenantTokens(ctx, who, in.Tenant); err != nil {
			return err
		}
		return success(w, removed{"Every token of the tenant has ended."})
	case n == 0 && who.TokenID() == "":
		return badField("Authorization", "must carry the token to revoke; an API key is deleted under /api-keys")
	case n == 0:
		in.JTI = who.TokenID()
	}
	if err := s.o.Store.RevokeToken(ctx, who, in.JTI); err != nil {
		return err
	}
	return success(w, removed{"The token is revoked."})
}

func countSet(values ...string) (n int) {
	for _, v := range values {
		if v != "" {
			n++
		}
	}
	return n
}
