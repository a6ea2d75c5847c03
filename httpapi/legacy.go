package httpapi

import (
	"net/http"
	"strings"

	"alcove/engine"
	"alcove/tenancy"
)

// lightRAG says whether a route is one of LightRAG's own that acts on a knowledge base.
func lightRAG(pattern string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(pattern, "/"), "/")
	switch first {
	case "documents", "query", "graph", "graphs":
		return true
	}
	return false
}

// place is where a route acts: the tenant and the knowledge base of its path. A route
// of LightRAG's has none. It acts on those of X-Tenant-ID and X-KB-ID, and for one that is
// left out on what the credential is bound to; it makes nothing and falls back on nothing.
// That a credential has no right there is said by Enter, as everywhere.
func (s *Server) place(r *http.Request, pattern string, who tenancy.Principal) (tenant, kb string, err error) {
	if !lightRAG(pattern) {
		return param(r, "tenant"), param(r, "kb"), nil
	}
	tenant, kb = who.Only()
	if s.o.Single != "" {
		tenant, kb = s.o.Single, s.o.Single
	}
	for _, h := range []struct {
		name string
		into *string
	}{{"X-Tenant-ID", &tenant}, {"X-KB-ID", &kb}} {
		switch given := r.Header.Values(h.name); {
		case len(given) > 1:
			return "", "", badField(h.name, "is given twice")
		case len(given) == 1 && s.o.Single != "" && given[0] != s.o.Single:
			return "", "", tenancy.ErrDenied
		case len(given) == 1:
			*h.into = given[0]
		case *h.into == "":
			return "", "", badField(h.name, "is missing, and the credential is not bound to one knowledge base")
		}
	}
	return tenant, kb, nil
}

// The versions that LightRAG's clients are told: those whose routes these are.
const (
	lightRAGCore = "1.5.7"
	lightRAGAPI  = "0329"
)

func (s *Server) legacyHealth(w http.ResponseWriter, _ *http.Request) error {
	return bare(w, map[string]any{
		"status": "healthy", "auth_mode": s.authMode(), "core_version": lightRAGCore, "api_version": lightRAGAPI, "pipeline_busy": false,
	})
}

func (s *Server) authMode() string {
	if s.o.NoSignIn {
		return "disabled"
	}
	return "enabled"
}

// authStatus says whether a client has to sign in. There is no guest and no token for one.
func (s *Server) authStatus(w http.ResponseWriter, _ *http.Request) error {
	return bare(w, map[string]any{
		"auth_configured": !s.o.NoSignIn, "auth_mode": s.authMode(), "core_version": lightRAGCore, "api_version": lightRAGAPI,
	})
}

// legacySession is what a client of LightRAG's gets for a name and a password.
type legacySession struct {
	Token    string `json:"access_token"`
	Type     string `json:"token_type"`
	AuthMode string `json:"auth_mode"`
	Core     string `json:"core_version"`
	API      string `json:"api_version"`
}

// login is signIn, answered as LightRAG's clients expect it.
func (s *Server) login(w http.ResponseWriter, r *http.Request) error {
	in, _, err := s.readSignIn(r)
	if err != nil {
		return err
	}
	session, err := s.o.Store.SignIn(r.Context(), in)
	if err != nil {
		return err
	}
	return bare(w, legacySession{session.Token, session.Type, "enabled", lightRAGCore, lightRAGAPI})
}

// legacyStream answers in lines, which is what LightRAG's clients read.
func (s *Server) legacyStream(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	r.Header.Set("Accept", "application/x-ndjson")
	return s.queryStream(w, r, kb)
}

// maxLabels bounds the list of all labels.
const maxLabels = 1000

// labelList lists the names of entities, those with the most relations first.
func (s *Server) labelList(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	return popular(w, r, kb, maxLabels)
}

func (s *Server) labelPopular(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	limit, err := intParam(r, "limit")
	if err != nil {
		return err
	}
	if limit == 0 {
		limit = 300
	}
	return popular(w, r, kb, limit)
}

func popular(w http.ResponseWriter, r *http.Request, kb *engine.Reader, limit int) error {
	labels, err := kb.PopularLabels(r.Context(), limit, nil)
	if err != nil {
		return err
	}
	names := make([]string, len(labels))
	for i, l := range labels {
		names[i] = l.Label
	}
	return bare(w, names)
}

func (s *Server) entityExists(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	name, err := textParam(r, "name")
	if err != nil {
		return err
	}
	_, err = kb.Entity(r.Context(), name, nil)
	if isNone(err) {
		return bare(w, map[string]bool{"exists": false})
	}
	if err != nil {
		return err
	}
	return bare(w, map[string]bool{"exists": true})
}

// legacyEntityInput is LightRAG's body of a deletion of an entity.
type legacyEntityInput struct {
	Name string `json:"entity_name"`
}

func (s *Server) legacyDeleteEntity(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in legacyEntityInput

	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	if in.Name == "" {
		return badField("entity_name", "is missing")
	}
	if err := kb.DeleteEntity(r.Context(), in.Name, ifMatch(r)); err != nil {
		return err
	}
	return bare(w, said{"success", "Entity '" + in.Name + "' deleted successfully", ""})
}

// legacyRelationInput is its body of a deletion of a relation.
type legacyRelationInput struct {
	Source string `json:"source_entity"`
	Target string `json:"target_entity"`
}

func (s *Server) legacyDeleteRelation(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	var in legacyRelationInput

	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	if err := kb.DeleteRelation(r.Context(), in.Source, in.Target, ifMatch(r)); err != nil {
		return err
	}
	return bare(w, said{"success", "Relation from '" + in.Source + "' to '" + in.Target + "' deleted successfully", ""})
}
