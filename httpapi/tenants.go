package httpapi

import (
	"net/http"

	"alcove/engine"
	"alcove/tenancy"
)

// removed is what a delete of the management answers.
type removed struct {
	Message string `json:"message"`
}

func (s *Server) createTenant(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	var in tenancy.TenantInput
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	t, err := s.o.Store.CreateTenant(r.Context(), who, in)
	if err != nil {
		return err
	}
	return created(w, t)
}

func (s *Server) listTenants(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	page, err := pageParams(r)
	if err != nil {
		return err
	}
	tenants, err := s.o.Store.Tenants(r.Context(), who, page)
	if err != nil {
		return err
	}
	return success(w, tenants)
}

func (s *Server) getTenant(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	t, err := s.o.Store.Tenant(r.Context(), who, param(r, "tenant"))
	if err != nil {
		return err
	}
	return success(w, t)
}

func (s *Server) updateTenant(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	var in tenancy.TenantUpdate
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	t, err := s.o.Store.UpdateTenant(r.Context(), who, param(r, "tenant"), in)
	if err != nil {
		return err
	}
	return success(w, t)
}

func (s *Server) deleteTenant(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	if err := s.o.Store.DeleteTenant(r.Context(), who, param(r, "tenant")); err != nil {
		return err
	}
	return success(w, removed{"The tenant and its knowledge bases are deleted."})
}

func (s *Server) createKB(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	var in tenancy.KBInput
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	kb, err := s.o.Store.CreateKB(r.Context(), who, param(r, "tenant"), in)
	if err != nil {
		return err
	}
	return created(w, kb)
}

func (s *Server) listKBs(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	page, err := pageParams(r)
	if err != nil {
		return err
	}
	kbs, err := s.o.Store.KBs(r.Context(), who, param(r, "tenant"), page)
	if err != nil {
		return err
	}
	return success(w, kbs)
}

func (s *Server) getKB(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	kb, err := s.o.Store.KB(r.Context(), who, param(r, "tenant"), param(r, "kb"))
	if err != nil {
		return err
	}
	out := shownKB{KB: kb}
	if err := s.count(r, who, &out); err != nil {
		return err
	}
	return success(w, out)
}

// shownKB is a knowledge base with what the engine knows of it.
type shownKB struct {
	tenancy.KB
	Embedding engine.Embedding `json:"embedding"`
	// Settings are those in force, its own before its tenant's before the server's.
	Settings map[string]engine.Setting `json:"settings"`
}

// count fills in what tenancy does not know: how much the knowledge base holds.
// Entities and relations are left out while it is not in memory.
func (s *Server) count(r *http.Request, who tenancy.Principal, kb *shownKB) error {
	space, err := s.o.Store.Enter(r.Context(), who, kb.TenantID, kb.ID, tenancy.PermKBAccess)
	if err != nil {
		return err
	}
	reader := s.o.Engine.Reader(space)
	n, err := reader.Counts(r.Context())
	if err != nil {
		return err
	}
	if kb.Settings, err = reader.Settings(r.Context()); err != nil {
		return err
	}
	kb.Embedding = n.Embedding
	for _, f := range []struct {
		into **int64
		n    int
	}{
		{&kb.DocumentCount, n.Documents}, {&kb.ChunkCount, n.Chunks},
		{&kb.EntityCount, n.Entities}, {&kb.RelationshipCount, n.Relations},
	} {
		if f.n >= 0 {
			v := int64(f.n)
			*f.into = &v
		}
	}
	return nil
}

func (s *Server) updateKB(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	var in tenancy.KBUpdate
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	kb, err := s.o.Store.UpdateKB(r.Context(), who, param(r, "tenant"), param(r, "kb"), in)
	if err != nil {
		return err
	}
	return success(w, kb)
}

// reembed begins the change to the server's embedding model: 202 while there is
// something to do. How far it has come is in getKB.
func (s *Server) reembed(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	dry, err := boolParam(r, "dry_run")
	if err != nil {
		return err
	}
	out, err := kb.Reembed(r.Context(), dry)
	if err != nil {
		return err
	}
	if out.Status == "started" || out.Status == "running" {
		return accepted(w, out)
	}
	return success(w, out)
}

// cancelReembed gives the change up; getKB shows when what it had made is gone.
func (s *Server) cancelReembed(w http.ResponseWriter, r *http.Request, kb *engine.KB) error {
	out, err := kb.CancelReembed(r.Context())
	if err != nil {
		return err
	}
	return success(w, out)
}

func (s *Server) deleteKB(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	if err := s.o.Store.DeleteKB(r.Context(), who, param(r, "tenant"), param(r, "kb")); err != nil {
		return err
	}
	return success(w, removed{"The knowledge base is deleted."})
}
