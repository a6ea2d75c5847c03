package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

func setQuota(t *testing.T, v *enginetest.Env, tenant string, q tenancy.QuotaUpdate) {
	t.Helper()
	_, err := v.Store.UpdateTenant(t.Context(), v.Admin, tenant, tenancy.TenantUpdate{Quota: &q})
	require.NoError(t, err)
}

func used(t *testing.T, v *enginetest.Env, tenant string) tenancy.Used {
	t.Helper()
	u, err := v.Store.Usage(t.Context(), v.Admin, tenant)
	require.NoError(t, err)
	return u.Used
}

// requireCounted fails if a counter is not what a scan finds. What else Check says of a
// store that is in use, whose audit log goes on meanwhile, is not looked at.
func requireCounted(t *testing.T, v *enginetest.Env) {
	t.Helper()
	_, err := v.Store.Check(t.Context(), func(p string) {
		if strings.Contains(p, "count") {
			t.Error(p)
		}
	})
	require.NoError(t, err)
}

// Fifty uploads at once on the edge of the number of documents, some of them batches,
// in two knowledge bases: the count is never over at any moment, what is accepted is
// made, and afterwards all counters are those of a scan.
func TestQuota_FiftyUploadsAtTheEdge(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	const most = 20
	v.KBOf("acme", "one")
	setQuota(t, v, "acme", tenancy.QuotaUpdate{MaxDocuments: new(int64(most))})
	kbs := []*engine.KB{v.KB("one"), v.KB("two")}
	var accepted, refused atomic.Int64
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			var docs []engine.DocumentInput
			for j := range 1 + i%3 {
				docs = append(docs, engine.DocumentInput{ID: fmt.Sprintf("d%d-%d", i, j), Content: fmt.Appendf(nil, "Ada met Babbage %d times in %d.", i, j)})
			}
			switch _, err := kbs[i%2].Add(context.Background(), docs, "insert"); {
			case err == nil:
				accepted.Add(int64(len(docs)))
			case errors.Is(err, tenancy.ErrQuota):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	n := used(t, v, "acme")
	require.Equal(t, accepted.Load(), n.Documents)
	require.LessOrEqual(t, n.Documents, int64(most))
	require.GreaterOrEqual(t, n.Documents, int64(most-2), "a batch of three may not fit")
	require.Positive(t, refused.Load())
	v.Wait()
	require.Zero(t, used(t, v, "acme").ReservedBytes, "all is done")
	requireCounted(t, v)

	_, err := kbs[0].Add(t.Context(), []engine.DocumentInput{{ID: "late", Content: []byte("a")}, {ID: "later", Content: []byte("b")}, {ID: "last", Content: []byte("c")}}, "insert")
	require.ErrorIs(t, err, tenancy.ErrQuota)
	docs, err := kbs[0].Documents(t.Context(), engine.DocumentsRequest{Limit: 3})
	require.NoError(t, err)
	var ids []string
	for _, d := range docs.Documents {
		ids = append(ids, d.DocID)
	}
	_, err = kbs[0].Delete(t.Context(), ids, false)
	require.NoError(t, err)
	v.Add("one", "late", "a", "later", "b", "last", "c")
}

// At the edge of the storage nothing that was accepted leads over the quota: large
// documents are refused when they come or fail at their commit, and never show half.
func TestQuota_StorageIsNeverOver(t *testing.T) {
	v := enginetest.New(t, engine.Options{ChunkTokens: 64})
	const most = 400_000
	v.KB("main")
	setQuota(t, v, "acme", tenancy.QuotaUpdate{MaxStorageGB: new(most / 1e9)})
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			u, err := v.Store.Usage(context.Background(), v.Admin, "acme")
			if err != nil || u.Used.StorageBytes > most {
				t.Errorf("%d bytes of %d: %v", u.Used.StorageBytes, most, err)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	var accepted, refused atomic.Int64
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			text := strings.Repeat(fmt.Sprintf("Ada wrote the %dth letter to Babbage in London. ", i), 40+i*4)
			_, err := v.KB("main").Add(context.Background(), []engine.DocumentInput{{ID: fmt.Sprint("d", i), Content: []byte(text)}}, "insert")
			if errors.Is(err, tenancy.ErrQuota) {
				refused.Add(1)
			} else if err == nil {
				accepted.Add(1)
			} else {
				t.Error(err)
			}
		})
	}
	all.Wait()
	v.Wait()
	close(stop)
	watch.Wait()
	require.Positive(t, refused.Load())
	require.Positive(t, accepted.Load())
	counts, err := v.KB("main").StatusCounts(t.Context())
	require.NoError(t, err)
	t.Logf("accepted %d, refused %d, ended %v, %d bytes", accepted.Load(), refused.Load(), counts, used(t, v, "acme").StorageBytes)
	requireCounted(t, v)
}

// Forty documents at once on the edge of the number of entities: never over, as near
// to it as documents go, and a document that adds no name is taken all the same.
func TestQuota_NamesAreNeverOver(t *testing.T) {
	v := enginetest.New(t, engine.Options{})
	const most = 30
	kb := v.KB("main")
	setQuota(t, v, "acme", tenancy.QuotaUpdate{MaxEntitiesPerKB: new(int64(most)), MaxRelationshipsPerKB: new(int64(0))})
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			// Two names of its own, and two that all have.
			text := fmt.Sprintf("Person%dx met Person%dy. Ada wrote to Babbage.", i, i)
			_, err := kb.Add(context.Background(), []engine.DocumentInput{{ID: fmt.Sprint("d", i), Content: []byte(text)}}, "insert")
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	v.Wait()
	entities := func() int {
		g, err := kb.Graph(t.Context(), engine.GraphRequest{Label: "*", MaxNodes: 1000})
		require.NoError(t, err)
		return len(g.Nodes)
	}
	require.LessOrEqual(t, entities(), most)
	require.Greater(t, entities(), most-2)
	counts, err := kb.StatusCounts(t.Context())
	require.NoError(t, err)
	require.Positive(t, counts["failed"])
	page, err := kb.Documents(t.Context(), engine.DocumentsRequest{Status: engine.StatusFailed})
	require.NoError(t, err)
	require.Contains(t, page.Documents[0].ErrorMsg, "max_entities_per_kb")

	v.Add("main", "known", "Babbage wrote to Ada. Ada wrote to Babbage.")
	v.Wait()
	d, err := kb.Document(t.Context(), "known")
	require.NoError(t, err)
	require.Equal(t, engine.StatusProcessed, d.Status, d.ErrorMsg)
	_, err = kb.CreateEntity(t.Context(), "Somebody Else", engine.EntityEdit{})
	if entities() == most {
		require.ErrorIs(t, err, tenancy.ErrQuota)
	}

	// What is deleted makes room, and a retry takes it.
	_, err = kb.Delete(t.Context(), []string{"known"}, false)
	require.NoError(t, err)
	processed, err := kb.Documents(t.Context(), engine.DocumentsRequest{Status: engine.StatusProcessed})
	require.NoError(t, err)
	_, err = kb.Delete(t.Context(), []string{processed.Documents[0].DocID, processed.Documents[1].DocID}, false)
	require.NoError(t, err)
	_, err = kb.Retry(t.Context(), page.Documents[0].DocID)
	require.NoError(t, err)
	v.Wait()
	d, err = kb.Document(t.Context(), page.Documents[0].DocID)
	require.NoError(t, err)
	require.Equal(t, engine.StatusProcessed, d.Status, d.ErrorMsg)
	requireCounted(t, v)
}
