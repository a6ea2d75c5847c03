package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"alcove/engine"
	"alcove/tenancy"
)

// maxProblems is how many problems an answer names; all are counted.
const maxProblems = 1000

// backup streams a backup of the whole store. What goes wrong once it has begun cuts the
// connection; and a file that was cut is told by itself.
func (s *Server) backup(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	q := tenancy.BackupRequest{Since: r.URL.Query().Get("since")}
	if names := r.URL.Query().Get("recipient"); names != "" {
		q.Recipients = strings.Split(names, ",")
	}
	begun := false
	_, err := s.o.Store.Backup(r.Context(), who, q, func() io.Writer {
		begun = true
		h := w.Header()
		h.Set("Content-Type", sealedMedia)
		h.Set("Content-Disposition", `attachment; filename="backup.alcove"`)
		return w
	})
	if err != nil && begun {
		err = fmt.Errorf("%w: %w", errCutShort, err)
	}
	return err
}

// verified is what a verification found.
type verified struct {
	Problems       int                `json:"problems"`
	Named          []string           `json:"named"` // the first of them
	KnowledgeBases int                `json:"knowledge_bases"`
	Catalogue      tenancy.Counts     `json:"catalogue"`
	Content        engine.CheckCounts `json:"content"`
}

// verify checks everything that can be: it takes as long as reading the store does. What
// changes while it looks may be reported as a problem; ask again, or stop the server
// and use alcove check.
func (s *Server) verify(w http.ResponseWriter, r *http.Request, _ tenancy.Principal) error {
	ctx, out := r.Context(), verified{Named: []string{}}
	report := func(p string) {
		if out.Problems++; len(out.Named) < maxProblems {
			out.Named = append(out.Named, p)
		}
	}
	var err error
	if out.Catalogue, err = s.o.Store.Check(ctx, report); err != nil {
		return err
	}
	err = s.o.Store.EachKB(ctx, "verify", func(sp *tenancy.Space) error {
		out.KnowledgeBases++
		n, err := engine.Check(ctx, s.o.Store, sp, func(p string) { report(fmt.Sprintf("tenant %s knowledge base %s: %s", sp.TenantID(), sp.KBID(), p)) })
		out.Content.Add(n)
		return err
	})
	if err != nil {
		return err
	}
	return success(w, out)
}

// rebuild makes everything derived anew from the documents, without any model.
func (s *Server) rebuild(w http.ResponseWriter, r *http.Request, _ tenancy.Principal) error {
	var out engine.Rebuilt
	err := s.o.Store.EachKB(r.Context(), "rebuild", func(sp *tenancy.Space) error {
		n, err := s.o.Engine.Rebuild(r.Context(), sp)
		out.Add(n)
		return err
	})
	if err != nil {
		return err
	}
	return success(w, out)
}

// serverStatus is how the server and its store are.
type serverStatus struct {
	Version string               `json:"version"`
	Time    time.Time            `json:"time"`
	Store   tenancy.StoreSummary `json:"store"`
}

func (s *Server) status(w http.ResponseWriter, r *http.Request, who tenancy.Principal) error {
	sum, err := s.o.Store.Summary(r.Context(), who)
	if err != nil {
		return err
	}
	return success(w, serverStatus{Version: s.o.Version, Time: time.Now().UTC().Truncate(time.Second), Store: sum})
}
