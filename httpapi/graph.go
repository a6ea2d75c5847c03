package httpapi

import (
	"net/http"

	"alcove/engine"
)

func (s *Server) graph(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	depth, err := intParam(r, "max_depth")
	if err != nil {
		return err
	}
	nodes, err := intParam(r, "max_nodes")
	if err != nil {
		return err
	}
	f, err := filterParam(r)
	if err != nil {
		return err
	}
	g, err := kb.Graph(r.Context(), engine.GraphRequest{Label: r.URL.Query().Get("label"), MaxDepth: depth, MaxNodes: nodes, Filter: f})
	if err != nil {
		return err
	}
	return bare(w, g)
}

func (s *Server) graphLabels(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	limit, err := intParam(r, "limit")
	if err != nil {
		return err
	}
	f, err := filterParam(r)
	if err != nil {
		return err
	}
	labels, err := kb.Labels(r.Context(), r.URL.Query().Get("q"), limit, f)
	if err != nil {
		return err
	}
	return bare(w, labels)
}

func (s *Server) popularLabels(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	limit, err := intParam(r, "limit")
	if err != nil {
		return err
	}
	f, err := filterParam(r)
	if err != nil {
		return err
	}
	labels, err := kb.PopularLabels(r.Context(), limit, f)
	if err != nil {
		return err
	}
	return bare(w, labels)
}

// graphEntity and graphPath take names as query values: a name may hold a slash.
func (s *Server) graphEntity(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	name, err := textParam(r, "name")
	if err != nil {
		return err
	}
	f, err := filterParam(r)
	if err != nil {
		return err
	}
	e, err := kb.Entity(r.Context(), name, f)
	if err != nil {
		return err
	}
	if f == nil { // else what people wrote is out of sight
		setTag(w, handTag(e.Properties))
	}
	return bare(w, e)
}

func (s *Server) graphPath(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	from, err := textParam(r, "from")
	if err != nil {
		return err
	}
	to, err := textParam(r, "to")
	if err != nil {
		return err
	}
	f, err := filterParam(r)
	if err != nil {
		return err
	}
	p, err := kb.Path(r.Context(), from, to, f)
	if err != nil {
		return err
	}
	return bare(w, p)
}

// graphQuery is a POST because a path query does not fit a query string; it
// changes nothing.
func (s *Server) graphQuery(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	var q engine.GraphQuery
	if err := s.decodeSmall(r, &q); err != nil {
		return err
	}
	found, err := kb.QueryGraph(r.Context(), q)
	if err != nil {
		return err
	}
	return bare(w, found)
}

func (s *Server) graphRelated(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	name, err := textParam(r, "name")
	if err != nil {
		return err
	}
	limit, err := intParam(r, "limit")
	if err != nil {
		return err
	}
	f, err := filterParam(r)
	if err != nil {
		return err
	}
	related, err := kb.Related(r.Context(), engine.RelatedRequest{Name: name, Limit: limit, Filter: f})
	if err != nil {
		return err
	}
	return bare(w, related)
}

// makeCommunities is a POST because it costs work; it changes no record.
func (s *Server) makeCommunities(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	c, err := kb.MakeCommunities(r.Context())
	if err != nil {
		return err
	}
	return bare(w, c)
}

func (s *Server) communities(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	limit, err := intParam(r, "limit")
	if err != nil {
		return err
	}
	members, err := intParam(r, "members")
	if err != nil {
		return err
	}
	c, err := kb.Communities(r.Context(), engine.CommunitiesRequest{Limit: limit, Members: members})
	if err != nil {
		return err
	}
	return bare(w, c)
}
