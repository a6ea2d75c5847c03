package httpapi

import (
	"net/http"
	"strconv"

	"alcove/engine"
	"alcove/tenancy"
)

// What a query parameter holds is read here; that it is known, single and
// valid text was checked by the route (checkParams).

// textParam is a query parameter that must be given and not empty.
func textParam(r *http.Request, name string) (string, error) {
	v := r.URL.Query().Get(name)
	if v == "" {
		return "", badField(name, "is missing")
	}
	return v, nil
}

// intParam is a query parameter that is a whole number from 1, or absent: 0.
// Its upper bound is the called function's.
func intParam(r *http.Request, name string) (int, error) {
	q := r.URL.Query()
	if !q.Has(name) {
		return 0, nil
	}
	n, err := strconv.ParseInt(q.Get(name), 10, 32)
	if err != nil || n < 1 || strconv.FormatInt(n, 10) != q.Get(name) {
		return 0, badField(name, "must be a whole number from 1")
	}
	return int(n), nil
}

// boolParam is a query parameter that is true or false, or absent: false.
func boolParam(r *http.Request, name string) (bool, error) {
	q := r.URL.Query()
	switch v := q.Get(name); {
	case !q.Has(name), v == "false":
		return false, nil
	case v == "true":
		return true, nil
	}
	return false, badField(name, "must be true or false")
}

// filterParam is the filter of a look at the graph, as JSON, or absent: nil.
func filterParam(r *http.Request) (*engine.Filter, error) {
	q := r.URL.Query()
	if !q.Has("filter") {
		return nil, nil
	}
	f := new(engine.Filter)
	return f, decodeStrict("filter", []byte(q.Get("filter")), f)
}

// pageParams are cursor and limit of a management list.
func pageParams(r *http.Request) (tenancy.PageRequest, error) {
	limit, err := intParam(r, "limit")
	return tenancy.PageRequest{Cursor: r.URL.Query().Get("cursor"), Limit: limit}, err
}
