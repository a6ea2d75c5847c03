package httpapi

import (
	"net/http"

	"alcove/tenancy"
)

// addMember answers the new member, with the one-time password of an account that was
// made for it, this one time.
func (s *Server) addMember(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	var in tenancy.MemberInput
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	m, err := s.o.Store.AddMember(r.Context(), who, param(r, "tenant"), in)
	if err != nil {
		return err
	}
	return created(w, m)
}

func (s *Server) listMembers(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	page, err := pageParams(r)
	if err != nil {
		return err
	}
	members, err := s.o.Store.Members(r.Context(), who, param(r, "tenant"), page)
	if err != nil {
		return err
	}
	return success(w, members)
}

func (s *Server) updateMember(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	var in tenancy.MemberUpdate
	if err := s.decodeSmall(r, &in); err != nil {
		return err
	}
	m, err := s.o.Store.UpdateMember(r.Context(), who, param(r, "tenant"), param(r, "user"), in)
	if err != nil {
		return err
	}
	return success(w, m)
}

func (s *Server) removeMember(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	if err := s.o.Store.RemoveMember(r.Context(), who, param(r, "tenant"), param(r, "user")); err != nil {
		return err
	}
	return success(w, removed{"The member is removed and its tokens for this tenant have ended."})
}
