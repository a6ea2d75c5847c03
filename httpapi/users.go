package httpapi

import (
	"net/http"

	"alcove/tenancy"
)

// createUser answers the new account, with its one-time password if it has one, this
// one time.
func (s *Server) createUser(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	var in tenancy.UserInput
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	u, err := s.o.Store.CreateUser(r.Context(), who, in)
	if err != nil {
		return err
	}
	return created(w, u)
}

func (s *Server) listUsers(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	page, err := pageParams(r)
	if err != nil {
		return err
	}
	users, err := s.o.Store.Users(r.Context(), who, page)
	if err != nil {
		return err
	}
	return success(w, users)
}

func (s *Server) updateUser(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	var in tenancy.UserUpdate
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	u, err := s.o.Store.UpdateUser(r.Context(), who, param(r, "user"), in)
	if err != nil {
		return err
	}
	return success(w, u)
}

func (s *Server) deleteUser(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	if err := s.o.Store.DeleteUser(r.Context(), who, param(r, "user")); err != nil {
		return err
	}
	return success(w, removed{"The account is deleted and its tokens have ended."})
}
