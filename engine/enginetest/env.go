package enginetest

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/tenancy"
)

// Tenant is the tenant of Env.KB.
const Tenant = "acme"

// waitLimit ends a test whose work does not come to an end.
const waitLimit = 2 * time.Minute

// Env is a running engine over a store of its own.
type Env struct {
	*engine.Engine
	// Store is the store underneath; Admin may do everything in it.
	Store *tenancy.Store
	Admin tenancy.Principal
	// Options are those the engine runs with; Restart uses them again, so a test
	// may change them in between.
	Options engine.Options

	t     testing.TB
	store tenancy.Options
	mu    sync.Mutex
	kbs   map[[2]string]bool
}

// New starts an engine over a store in memory. Models that o leaves out are
// scripted ones. When the test ends, all work is waited for, every knowledge
// base is checked, and everything is closed.
func New(t testing.TB, o engine.Options) *Env { return Open(t, "", o) }

// Open is New with a store in dir.
func Open(t testing.TB, dir string, o engine.Options) *Env {
	t.Helper()
	return OpenStore(t, tenancy.Options{Dir: dir, MaxKBsPerTenant: 1000}, o)
}

// OpenStore is New with a store of these options.
func OpenStore(t testing.TB, store tenancy.Options, o engine.Options) *Env {
	t.Helper()
	v := &Env{t: t, kbs: map[[2]string]bool{}}
	v.Options = withModels(o)
	v.store = store
	v.store.Models = offered(v.Options)
	v.openStore()
	v.start()
	t.Cleanup(func() {
		if v.Engine == nil {
			return
		}
		if !t.Failed() {
			v.Wait()
			v.Check()
		}
		v.Stop()
	})
	return v
}

func withModels(o engine.Options) engine.Options {
	if o.Parser.Parse == nil {
		o.Parser = Parser
	}
	if o.Embedder == nil {
		o.Embedder = &Embedder{}
	}
	if o.Extractor == nil {
		o.Extractor = &Extractor{}
	}
	if o.Answerer == nil {
		o.Answerer = Answerer{}
	}
	if o.Chatter != nil && o.Fallback == nil {
		o.Fallback = Answerer{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.RetryBase == 0 {
		o.RetryBase = time.Nanosecond
	}
	if o.SnapshotFrom == 0 {
		o.SnapshotFrom = 1 // so that every restart reads a snapshot
	}
	return o
}

// offered are the models of an engine by name.
func offered(o engine.Options) tenancy.Models {
	m := tenancy.Models{
		Chat: slices.Sorted(maps.Keys(o.Models.Chatters)), Embedding: slices.Sorted(maps.Keys(o.Models.Embedders)),
		Rerank: slices.Sorted(maps.Keys(o.Models.Rerankers)),
	}
	m.Embedding = append(m.Embedding, o.Embedder.Model())
	if o.Chatter != nil {
		m.Chat = append(m.Chat, o.Chatter.Model())
	}
	if o.Reranker != nil {
		m.Rerank = append(m.Rerank, o.Reranker.Model())
	}
	return m
}

func (v *Env) openStore() {
	v.t.Helper()
	var err error
	v.Store, err = tenancy.Open(v.store)
	require.NoError(v.t, err)
	token, err := v.Store.MintToken(tenancy.TokenRequest{Subject: "test", System: true, TTL: time.Hour})
	require.NoError(v.t, err)
	v.Admin, err = v.Store.Authenticate(context.Background(), tenancy.Credential{Bearer: token})
	require.NoError(v.t, err)
}

func (v *Env) start() {
	v.t.Helper()
	v.Options.Store = v.Store
	var err error
	v.Engine, err = engine.New(v.Options)
	require.NoError(v.t, err)
}

// Restart closes the engine in the middle of whatever it does and starts another
// with v.Options, as a new process would. A store in a folder is opened again
// too. Readers and KBs from before are void.
func (v *Env) Restart() {
	v.t.Helper()
	require.NoError(v.t, v.Engine.Close())
	if v.store.Dir != "" {
		require.NoError(v.t, v.Store.Close())
		v.openStore()
	}
	v.start()
}

// Stop closes engine and store for good.
func (v *Env) Stop() {
	v.t.Helper()
	if v.Engine != nil {
		require.NoError(v.t, v.Engine.Close())
		require.NoError(v.t, v.Store.Close())
		v.Engine = nil
	}
}

// Space enters a knowledge base as the admin. Tenant and base are made when they
// are new; both names are slugs.
func (v *Env) Space(tenant, kb string, p tenancy.Permission) *tenancy.Space {
	v.t.Helper()
	ctx := context.Background()
	v.mu.Lock()
	defer v.mu.Unlock()
	if key := [2]string{tenant, kb}; !v.kbs[key] {
		_, err := v.Store.CreateTenant(ctx, v.Admin, tenancy.TenantInput{ID: tenant, Name: tenant})
		if !errors.Is(err, tenancy.ErrConflict) {
			require.NoError(v.t, err)
		}
		_, err = v.Store.CreateKB(ctx, v.Admin, tenant, tenancy.KBInput{ID: kb, Name: kb})
		if !errors.Is(err, tenancy.ErrConflict) {
			require.NoError(v.t, err)
		}
		v.kbs[key] = true
	}
	s, err := v.Store.Enter(ctx, v.Admin, tenant, kb, p)
	require.NoError(v.t, err)
	return s
}

// KB is a knowledge base of Tenant, entered for managing it.
func (v *Env) KB(name string) *engine.KB { return v.KBOf(Tenant, name) }

// KBOf is a knowledge base of any tenant, entered for managing it.
func (v *Env) KBOf(tenant, name string) *engine.KB {
	v.t.Helper()
	return v.Engine.KB(v.Space(tenant, name, tenancy.PermKBManage))
}

// Add takes texts into a base of Tenant under the ids given, as id, text, id, text.
func (v *Env) Add(kb string, idsAndTexts ...string) *engine.Accepted {
	v.t.Helper()
	var docs []engine.DocumentInput
	for pair := range slices.Chunk(idsAndTexts, 2) {
		docs = append(docs, engine.DocumentInput{ID: pair[0], FilePath: pair[0] + ".txt", Content: []byte(pair[1])})
	}
	a, err := v.KB(kb).Add(context.Background(), docs, "insert")
	require.NoError(v.t, err)
	return a
}

// Wait returns when all accepted work is done.
func (v *Env) Wait() {
	v.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	require.NoError(v.t, v.WaitIdle(ctx))
}

// Dump is the canonical dump of a base of Tenant.
func (v *Env) Dump(kb string) string {
	v.t.Helper()
	var b bytes.Buffer
	require.NoError(v.t, engine.Dump(context.Background(), v.Space(Tenant, kb, tenancy.PermKBAccess), &b))
	return b.String()
}

// Check fails the test for every fault of every base used so far.
func (v *Env) Check() {
	v.t.Helper()
	v.mu.Lock()
	names := make([][2]string, 0, len(v.kbs))
	for n := range v.kbs {
		names = append(names, n)
	}
	v.mu.Unlock()
	for _, n := range names {
		s, err := v.Store.Enter(context.Background(), v.Admin, n[0], n[1], tenancy.PermKBAccess)
		if errors.Is(err, tenancy.ErrNoKB) || errors.Is(err, tenancy.ErrNoTenant) {
			continue // deleted by the test
		}
		require.NoError(v.t, err)
		_, err = engine.Check(context.Background(), v.Store, s, func(fault string) { v.t.Errorf("%s/%s: %s", n[0], n[1], fault) })
		require.NoError(v.t, err)
	}
}
