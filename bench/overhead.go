package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"time"

	"alcove/engine"
	"alcove/httpapi"
	"alcove/tenancy"
)

// OverheadOptions configure the workload on what tenancy costs.
type OverheadOptions struct {
	Engine   engine.Options // of the engines under test but for their Stores
	Set      Set            // the corpus and the questions of the knowledge base that is looked at
	Others   int            // 999 knowledge bases beside it
	Each     int            // 2 documents of each of them
	Rounds   int            // 3 times that every question is asked of both stores
	Progress io.Writer      // nil for none
}

// OverheadResult is what tenancy takes on the disk and of the time. Share must be under
// 0.03 and the ratios under 1.15.
type OverheadResult struct {
	Documents int              `json:"documents"`
	Alone     tenancy.Overhead `json:"bytes_alone"` // of the store with the one knowledge base
	Share     float64          `json:"overhead_share"`
	AuditPart float64          `json:"audit_share"`
	Others    int              `json:"other_knowledge_bases"`
	Beside    tenancy.Overhead `json:"bytes_beside_others"`
	Rows      []OverheadRow    `json:"latency"`
}

// OverheadRow compares one kind of request to a knowledge base alone in its store with
// the same request to the same knowledge base beside others. Milliseconds.
type OverheadRow struct {
	Request   string  `json:"request"`
	Asked     int     `json:"asked_of_each"`
	AloneP50  float64 `json:"alone_p50_ms"`
	BesideP50 float64 `json:"beside_p50_ms"`
	RatioP50  float64 `json:"ratio_p50"`
	AloneP99  float64 `json:"alone_p99_ms"`
	BesideP99 float64 `json:"beside_p99_ms"`
	RatioP99  float64 `json:"ratio_p99"`
}

// Overhead fills one knowledge base in a store of its own and the same one beside many
// others in another store, and sends both the same requests in turn, through the whole
// server but for the network, so that whatever else the machine does meets both.
func Overhead(ctx context.Context, o OverheadOptions) (r OverheadResult, err error) {
	for _, d := range []struct {
		v   *int
		def int
	}{{&o.Others, 999}, {&o.Each, 2}, {&o.Rounds, 3}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	r.Documents, r.Others = len(o.Set.Passages), o.Others
	var stores [2]*served
	for i := range stores {
		if stores[i], err = o.serve(ctx); err != nil {
			return r, err
		}
		defer stores[i].remove()
	}
	for i, s := range stores {
		o.say("%d documents", len(o.Set.Passages))
		if _, err := s.ingest(ctx, o.Set); err != nil {
			return r, err
		}
		if i == 0 {
			continue
		}
		if err := o.crowd(ctx, s); err != nil {
			return r, fmt.Errorf("the other knowledge bases: %w", err)
		}
	}
	for i, into := range []*tenancy.Overhead{&r.Alone, &r.Beside} {
		if *into, err = stores[i].store.Overhead(ctx); err != nil {
			return r, err
		}
	}
	r.Share = r.Alone.Share()
	r.AuditPart = float64(r.Alone.Audit) / float64(r.Alone.Payload)
	o.say("asking")
	r.Rows, err = o.compare(ctx, stores)
	return r, err
}

func (o OverheadOptions) say(format string, a ...any) {
	if o.Progress != nil {
		fmt.Fprintf(o.Progress, format+"\n", a...)
	}
}

// served is a store with its engine and its server.
type served struct {
	*base
	dir    string
	server *httpapi.Server
	token  string
	kb     string
}

func (o OverheadOptions) serve(ctx context.Context) (*served, error) {
	dir, err := os.MkdirTemp("", "alcove-bench-")
	if err != nil {
		return nil, err
	}
	s := &served{dir: dir}
	if s.base, err = openBase(ctx, dir, o.Engine); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if s.server, err = httpapi.New(httpapi.Options{Store: s.store, Engine: s.engine, Logger: o.Engine.Logger}); err != nil {
		s.remove()
		return nil, err
	}
	s.token, err = s.store.MintToken(tenancy.TokenRequest{Subject: "caller", Tenant: s.tenant, Role: tenancy.RoleAdmin, KBs: []string{"*"}, TTL: time.Hour})
	if err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

// remove closes it and takes its folder away; what is left of that is the system's.
func (s *served) remove() {
	s.close()
	_ = os.RemoveAll(s.dir)
}

// ingest fills the knowledge base that is looked at and waits until nothing is left to do.
func (s *served) ingest(ctx context.Context, set Set) (*engine.Reader, error) {
	k, err := s.store.CreateKB(ctx, s.admin, s.tenant, tenancy.KBInput{ID: "looked-at", Name: "looked at"})
	if err != nil {
		return nil, err
	}
	s.kb = k.ID
	r, err := s.fill(ctx, k.ID, set.Passages)
	if err != nil {
		return nil, err
	}
	return r, s.engine.WaitIdle(ctx)
}

// kbsOfTenant is how many of the others one tenant has, as many as its quota allows.
const kbsOfTenant = 50

// crowd makes the other knowledge bases, in tenants of their own, each with some documents.
func (o OverheadOptions) crowd(ctx context.Context, s *served) error {
	tenant := ""
	for i := range o.Others {
		if i%kbsOfTenant == 0 {
			t, err := s.store.CreateTenant(ctx, s.admin, tenancy.TenantInput{Name: fmt.Sprint("others ", i)})
			if err != nil {
				return err
			}
			tenant = t.ID
		}
		space, err := s.base.enter(ctx, tenant, fmt.Sprint("other-", i))
		if err != nil {
			return err
		}
		docs := make([]engine.DocumentInput, o.Each)
		for j := range docs {
			docs[j] = o.Set.Passages[(i*o.Each+j)%len(o.Set.Passages)].input()
		}
		if _, err := s.engine.KB(space).Add(ctx, docs, "insert"); err != nil {
			return err
		}
		if i%100 == 99 {
			o.say("%d other knowledge bases", i+1)
		}
	}
	return s.engine.WaitIdle(ctx)
}

// compare sends requests of some kinds to both stores in turn, and each time to the other
// one first.
func (o OverheadOptions) compare(ctx context.Context, stores [2]*served) (rows []OverheadRow, err error) {
	questions := make([]string, 0, len(o.Set.Questions))
	for _, q := range o.Set.Questions {
		b, err := json.Marshal(engine.Query{Query: q.Question, OnlyNeedContext: true})
		if err != nil {
			return nil, err
		}
		questions = append(questions, string(b))
	}
	for _, kind := range []struct{ name, method, path string }{
		{"query (context)", http.MethodPost, "/query"},
		{"list of documents", http.MethodGet, "/documents?limit=20"},
		{"counts of documents", http.MethodGet, "/status_counts"},
	} {
		var took [2][]float64
		n := 0
		for range o.Rounds {
			for _, q := range questions {
				for i := range stores {
					at := (i + n) % 2
					ms, err := stores[at].ask(ctx, kind.method, kind.path, q)
					if err != nil {
						return nil, fmt.Errorf("%s: %w", kind.name, err)
					}
					if n >= len(questions)/10 { // the first load the knowledge base
						took[at] = append(took[at], ms)
					}
				}
				n++
			}
		}
		for _, t := range took {
			slices.Sort(t)
		}
		row := OverheadRow{
			Request: kind.name, Asked: len(took[0]),
			AloneP50: quantile(took[0], 0.5), BesideP50: quantile(took[1], 0.5), AloneP99: quantile(took[0], 0.99), BesideP99: quantile(took[1], 0.99),
		}
		row.RatioP50, row.RatioP99 = row.BesideP50/row.AloneP50, row.BesideP99/row.AloneP99
		rows = append(rows, row)
	}
	return rows, nil
}

// ask sends one request through the server and returns its milliseconds.
func (s *served) ask(ctx context.Context, method, path, body string) (ms float64, err error) {
	var in io.Reader
	if method == http.MethodPost {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequestWithContext(ctx, method, "/api/v1/tenants/"+s.tenant+"/knowledge-bases/"+s.kb+path, in)
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	start := time.Now()
	s.server.ServeHTTP(w, r)
	ms = milliseconds(time.Since(start))
	if w.Code != http.StatusOK {
		return 0, fmt.Errorf("status %d: %s", w.Code, w.Body)
	}
	return ms, nil
}
