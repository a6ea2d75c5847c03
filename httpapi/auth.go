package httpapi

import (
	"net/http"

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

// revokeToken ends the token it is called with. A key is not a token: it is
// deleted by whoever manages its tenant.
func (s *Server) revokeToken(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	if who.TokenID() == "" {
		return badField("Authorization", "must carry the token to revoke; an API key is deleted under /api-keys")
	}
	if err := s.o.Store.RevokeToken(r.Context(), who, who.TokenID()); err != nil {
		return err
	}
	return success(w, removed{"The token is revoked."})
}
