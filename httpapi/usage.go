package httpapi

import (
	"net/http"

	"alcove/tenancy"
)

// usage says what a tenant may use and what of it is in use, from counters alone.
func (s *Server) usage(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	u, err := s.o.Store.Usage(r.Context(), who, param(r, "tenant"))
	if err != nil {
		return err
	}
	return success(w, u)
}
