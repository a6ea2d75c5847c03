package httpapi

import (
	"net/http"

	"alcove/tenancy"
)

// createKey answers the new key with its secret, this one time.
func (s *Server) createKey(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	var in tenancy.KeyInput
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	key, err := s.o.Store.CreateKey(r.Context(), who, param(r, "tenant"), in)
	if err != nil {
		return err
	}
	return created(w, key)
}

func (s *Server) listKeys(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	page, err := pageParams(r)
	if err != nil {
		return err
	}
	keys, err := s.o.Store.Keys(r.Context(), who, param(r, "tenant"), page)
	if err != nil {
		return err
	}
	return success(w, keys)
}

// rotateKey answers the key with its new secret, this one time. A body is not needed.
func (s *Server) rotateKey(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	var in tenancy.KeyRotation
	if err := s.decodeOptional(r, &in); err != nil {
		return err
	}
	key, err := s.o.Store.RotateKey(r.Context(), who, param(r, "tenant"), param(r, "key"), in)
	if err != nil {
		return err
	}
	return success(w, key)
}

func (s *Server) deleteKey(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	if err := s.o.Store.DeleteKey(r.Context(), who, param(r, "tenant"), param(r, "key")); err != nil {
		return err
	}
	return success(w, removed{"The key is revoked."})
}
