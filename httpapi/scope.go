package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/julienschmidt/httprouter"

	"alcove/engine"
	"alcove/tenancy"
)

// right is what a route asks of its caller: a permission, or one of the
// marks below.
type right string

const (
	// public routes are asked by nobody in particular and show no data. They
	// answer only under the server's own host names.
	public right = "public"
	// anyCaller routes need a valid credential and show the caller what is its
	// own; tenancy decides what that is.
	anyCaller right = "any caller"
	// byPassword routes take a name and a password for a credential. They answer
	// under any host name: who is tricked into asking has no password to lose.
	byPassword right = "name and password"
)

// known says whether a route may be registered with this right.
func (p right) known() bool {
	switch tenancy.Permission(p) {
	case tenancy.PermTenantManage, tenancy.PermTenantMembers, tenancy.PermTenantBilling,
		tenancy.PermKBCreate, tenancy.PermKBDelete, tenancy.PermKBManage, tenancy.PermKBAccess,
		tenancy.PermDocumentCreate, tenancy.PermDocumentUpdate, tenancy.PermDocumentDelete,
		tenancy.PermDocumentRead, tenancy.PermQueryRun, tenancy.PermSystemAdmin:
		return true
	}
	return p == public || p == anyCaller || p == byPassword || p == metricsToken
}

// changes says whether a Space entered with this permission can be written.
// tenancy has the last word: it refuses a commit through any other.
func (p right) changes() bool {
	switch tenancy.Permission(p) {
	case tenancy.PermKBManage, tenancy.PermKBDelete,
		tenancy.PermDocumentCreate, tenancy.PermDocumentUpdate, tenancy.PermDocumentDelete:
		return true
	}
	return false
}

// route is one line of the route page.
type route struct {
	method, pattern string
	right           right
	params          []string // the query parameters it knows; others are 400
	serve           func(*response, *http.Request, *exchange) error
}

// The kinds of handler: each is handed what it is allowed to use.
type (
	openHandler   func(http.ResponseWriter, *http.Request) error
	callerHandler func(http.ResponseWriter, *http.Request, tenancy.Principal) error
	readHandler   func(http.ResponseWriter, *http.Request, *engine.Reader) error
	writeHandler  func(http.ResponseWriter, *http.Request, *engine.KB) error
)

// open is a route without a caller.
func (s *Server) open(method, pattern string, h openHandler) route {
	return route{method, pattern, public, nil, func(w *response, r *http.Request, x *exchange) error {
		if err := s.checkHost(r); err != nil {
			return err
		}
		if err := checkParams(r, nil); err != nil {
			return err
		}
		return h(w, r)
	}}
}

// password is a route that takes a password. Other credentials are not looked at.
func (s *Server) password(method, pattern string, h openHandler) route {
	return route{method, pattern, byPassword, nil, func(w *response, r *http.Request, x *exchange) error {
		if err := checkParams(r, nil); err != nil {
			return err
		}
		return h(w, r)
	}}
}

// managed is a route on tenants, knowledge bases, keys or tokens. The right of the
// line is asked for before the query string or the body is looked at: what a
// stranger sent is none of our concern, and how it was wrong would be an answer.
// The handler then calls tenancy with the Principal, and tenancy asks again; the
// door test holds each line to it.
func (s *Server) managed(method, pattern string, p right, h callerHandler, params ...string) route {
	return route{method, pattern, p, params, func(w *response, r *http.Request, x *exchange) error {
		who, err := s.authenticate(r, x)
		if err != nil {
			return err
		}
		x.tenant, x.kb = param(r, "tenant"), param(r, "kb")
		if err := s.allowed(who, pattern, x, p); err != nil {
			return err
		}
		if err := checkParams(r, params); err != nil {
			return err
		}
		return s.once(w, r, x, who, func(w *response, r *http.Request) error { return h(w, r, who) })
	}}
}

// allowed asks for the right of a managed route, in the tenant and on the knowledge
// base of its path if it names one.
func (s *Server) allowed(who tenancy.Principal, pattern string, x *exchange, p right) error {
	perm := tenancy.Permission(p)
	switch {
	case p == anyCaller && !strings.Contains(pattern, ":tenant"):
		return nil
	case p == anyCaller:
		perm = tenancy.OfItsTenant
	case !strings.Contains(pattern, ":tenant"):
		return s.o.Store.AllowServer(who, perm)
	}
	if strings.Contains(pattern, ":kb") {
		return s.o.Store.AllowKB(who, x.tenant, x.kb, perm)
	}
	return s.o.Store.Allow(who, x.tenant, perm)
}

// reads is a route that reads one knowledge base with permission p.
func (s *Server) reads(method, pattern string, p tenancy.Permission, h readHandler, params ...string) route {
	if right(p).changes() {
		panic(fmt.Sprintf("httpapi: %s %s reads with %s, which writes", method, pattern, p))
	}
	return s.scoped(method, pattern, p, params, func(w *response, r *http.Request, sp *tenancy.Space) error {
		return h(w, r, s.o.Engine.Reader(sp))
	})
}

// writes is a route that changes one knowledge base with permission p.
func (s *Server) writes(method, pattern string, p tenancy.Permission, h writeHandler, params ...string) route {
	if !right(p).changes() {
		panic(fmt.Sprintf("httpapi: %s %s writes with %s, which only reads", method, pattern, p))
	}
	return s.scoped(method, pattern, p, params, func(w *response, r *http.Request, sp *tenancy.Space) error {
		return h(w, r, s.o.Engine.KB(sp))
	})
}

// scoped enters the knowledge base of the path, or of the place that a route of
// LightRAG's has instead, with the permission of the
// line, on every request and before anything else of it is looked at.
func (s *Server) scoped(method, pattern string, p tenancy.Permission, params []string, h func(*response, *http.Request, *tenancy.Space) error) route {
	return route{method, pattern, right(p), params, func(w *response, r *http.Request, x *exchange) error {
		who, err := s.authenticate(r, x)
		if err != nil {
			return err
		}
		if x.tenant, x.kb, err = s.place(r, pattern, who); err != nil {
			return err
		}
		space, err := s.o.Store.Enter(r.Context(), who, x.tenant, x.kb, p)
		if err != nil {
			return err
		}
		end, err := limited(w.Header(), space, p)
		if err != nil {
			return err
		}
		defer end()
		x.documents = documentsOf(w.Header(), space)
		if err := checkParams(r, params); err != nil {
			return err
		}
		if !right(p).changes() {
			return h(w, r, space)
		}
		return s.once(w, r, x, who, func(w *response, r *http.Request) error { return h(w, r, space) })
	}}
}

// mount builds the router of the given routes. A route without a right, or
// with one nobody knows, is a fault of the program: it panics.
func (s *Server) mount(routes []route) *httprouter.Router {
	rt := httprouter.New()
	// A second spelling of a path is a 404, never a redirect: a redirect would
	// make a client send its body and its key again.
	rt.RedirectTrailingSlash, rt.RedirectFixedPath = false, false
	rt.HandleOPTIONS, rt.HandleMethodNotAllowed = false, true
	rt.NotFound = s.always(errNoRoute)
	rt.MethodNotAllowed = s.always(errMethod)
	for _, line := range routes {
		if !line.right.known() || line.serve == nil {
			panic(fmt.Sprintf("httpapi: route %s %s has no right", line.method, line.pattern))
		}
		rt.Handle(line.method, line.pattern, func(rw http.ResponseWriter, r *http.Request, ps httprouter.Params) {
			x := exchangeOf(r.Context())
			x.route, x.right, x.params = line.pattern, line.right, ps
			w := rw.(*response)
			w.before = s.recorder(line, r, x)
			if err := line.serve(w, r, x); err != nil {
				s.fail(w, x, err)
			}
		})
	}
	return rt
}

// always answers every request with err.
func (s *Server) always(err error) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		// The router lists OPTIONS among the allowed; we do not answer it.
		if allow := rw.Header().Get("Allow"); allow != "" {
			methods := slices.DeleteFunc(strings.Split(allow, ", "), func(m string) bool { return m == http.MethodOptions })
			rw.Header().Set("Allow", strings.Join(methods, ", "))
		}
		s.fail(rw.(*response), exchangeOf(r.Context()), err)
	}
}

// param is a parameter of the route's pattern, as decoded by the router.
func param(r *http.Request, name string) string { return exchangeOf(r.Context()).params.ByName(name) }

// authenticate turns the request's credential into a Principal. Both headers
// are handed over: tenancy decides what two credentials mean, and a bad one
// never falls back to the other. A token in the query string is no credential.
func (s *Server) authenticate(r *http.Request, x *exchange) (tenancy.Principal, error) {
	c, err := credential(r.Header)
	if s.o.NoSignIn && !hasCredential(r.Header) {
		c, err = tenancy.Credential{}, s.ofThisSite(r)
	}
	if err != nil {
		return tenancy.Principal{}, err
	}
	c.Addr = x.client
	if err := s.mayTry(x); err != nil {
		return tenancy.Principal{}, err
	}
	who, err := s.o.Store.Authenticate(r.Context(), c)
	if err != nil {
		s.noteTry(x, err)
		return tenancy.Principal{}, err
	}
	x.who, x.principal = who, who.Name()
	return who, s.o.Store.CountCall(who)
}

func hasCredential(h http.Header) bool {
	return len(h.Values("Authorization"))+len(h.Values("X-API-Key")) > 0
}

// ofThisSite refuses what a page of another site makes a browser send: where nobody has
// to sign in, that a request comes from this machine is all there is.
func (s *Server) ofThisSite(r *http.Request) error {
	if err := s.checkHost(r); err != nil {
		return err
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return tenancy.ErrUnauthenticated
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || u.Host != r.Host {
			return tenancy.ErrUnauthenticated
		}
	}
	return nil
}

// credential reads Authorization: Bearer and X-API-Key. A repeated header and
// any other scheme are no valid credential.
func credential(h http.Header) (tenancy.Credential, error) {
	var c tenancy.Credential
	auth, key := h.Values("Authorization"), h.Values("X-API-Key")
	if len(auth) > 1 || len(key) > 1 {
		return c, tenancy.ErrUnauthenticated
	}
	if len(auth) == 1 {
		scheme, token, ok := strings.Cut(auth[0], " ")
		if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t,") {
			return c, tenancy.ErrUnauthenticated
		}
		c.Bearer = token
	}
	if len(key) == 1 {
		if key[0] == "" {
			return c, tenancy.ErrUnauthenticated
		}
		c.APIKey = key[0]
	}
	if c.Bearer == "" && c.APIKey == "" {
		return c, tenancy.ErrUnauthenticated
	}
	return c, nil
}

// checkParams refuses query parameters that are unknown, repeated, not valid
// UTF-8 or hold a NUL.
func checkParams(r *http.Request, known []string) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return badField("query string", "is malformed")
	}
	var bad []error
	for name, values := range q {
		switch {
		case !slices.Contains(known, name):
			bad = append(bad, badField(shorten(name), "is not a known query parameter"))
		case len(values) > 1:
			bad = append(bad, badField(name, "is given twice"))
		case !utf8.ValidString(values[0]) || strings.ContainsRune(values[0], 0):
			bad = append(bad, badField(name, "is not valid text"))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	slices.SortFunc(bad, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return bad[0]
}
