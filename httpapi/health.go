package httpapi

import "net/http"

// health says that the process answers. It touches no data.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	return bare(w, map[string]string{"status": "ok"})
}

// ready says that requests are welcome: 503 from the moment shutting down
// begins. It touches no data and loads no knowledge base.
func (s *Server) ready(w http.ResponseWriter, _ *http.Request) error {
	if s.gate.isClosed() {
		return errDraining
	}
	return bare(w, map[string]string{"status": "ready"})
}
