package httpapi

import (
	"net/http"

	"alcove/engine"
)

func (s *Server) query(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	var q engine.Query
	if err := s.decodeSmall(r, &q); err != nil {
		return err
	}
	asked := s.asks(r, q)
	a, err := kb.Query(r.Context(), q)
	if err != nil {
		return err
	}
	asked.answered(len(a.References), a.Metadata)
	return bare(w, a)
}

func (s *Server) queryData(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	var q engine.Query
	if err := s.decodeSmall(r, &q); err != nil {
		return err
	}
	asked := s.asks(r, q)
	d, err := kb.QueryData(r.Context(), q)
	if err != nil {
		return err
	}
	asked.results = len(d.Data.References)
	return bare(w, d)
}

func (s *Server) queryExplain(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	var q engine.Query
	if err := s.decodeSmall(r, &q); err != nil {
		return err
	}
	s.asks(r, q)
	x, err := kb.QueryExplain(r.Context(), q)
	if err != nil {
		return err
	}
	return bare(w, x)
}

// queryStream answers in events as they come. With "stream": false the answer
// is one event that holds everything, as LightRAG does it. An error before the
// first event is an ordinary error answer; after it, the last event.
func (s *Server) queryStream(w http.ResponseWriter, r *http.Request, kb *engine.Reader) error {
	var q engine.Query
	if err := s.decodeSmall(r, &q); err != nil {
		return err
	}
	asked := s.asks(r, q)
	out := newEventStream(w, r)
	if q.Stream != nil && !*q.Stream {
		a, err := kb.Query(r.Context(), q)
		if err != nil {
			return err
		}
		asked.answered(len(a.References), a.Metadata)
		return out.send(event{
			References: &a.References, LLM: a.LLM, Response: a.Response, Degraded: a.Degraded, Metadata: &a.Metadata, Done: true,
		})
	}
	err := kb.QueryStream(r.Context(), q, func(e engine.Event) error {
		asked.heard(e)
		return out.send(eventOf(e))
	})
	if err != nil && out.begun() {
		_, body := answerTo(err)
		// The caller cannot be told by a status any more. That this fails too
		// when the caller is gone changes nothing.
		_ = out.send(event{Error: body.Message, Code: body.Code, RequestID: exchangeOf(r.Context()).id})
	}
	return err
}

func eventOf(e engine.Event) event {
	out := event{Progress: e.Progress, LLM: e.LLM, Response: e.Response, Degraded: e.Degraded, Metadata: e.Metadata, Done: e.Done}
	if e.References != nil {
		out.References = &e.References
	}
	return out
}
