package tenancy

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// filled sets every field of a struct to something that is not its zero value, so that
// a field that is forgotten on the way shows.
func filled(t testing.TB, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f := v.Field(i)
		for f.Kind() == reflect.Pointer {
			f.Set(reflect.New(f.Type().Elem()))
			f = f.Elem()
		}
		switch f.Kind() {
		case reflect.Int, reflect.Int64:
			f.SetInt(int64(i) + 2)
		case reflect.Float64:
			f.SetFloat(float64(i+1) / 32)
		case reflect.String:
			f.SetString(fmt.Sprint("value ", i))
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Slice:
			f.Set(reflect.ValueOf([]string{fmt.Sprint("value ", i), "another"}))
		case reflect.Map:
			if f.Type() == reflect.TypeFor[map[string]string]() { // of prompts
				f.Set(reflect.ValueOf(map[string]string{"glean": "in {language}", "summary": fmt.Sprint("{name} ", i)}))
				break
			}
			f.Set(reflect.ValueOf(map[string]any{"n": float64(i), "deep": map[string]any{"list": []any{"a", true, nil}}}))
		default:
			t.Fatalf("field %s of kind %s", v.Type().Field(i).Name, f.Kind())
		}
	}
}

// Every field of a configuration and of a quota comes back as it went in, and an
// update of one leaves the others.
func TestUpdate_EveryFieldRoundTrips(t *testing.T) {
	var offered []string // what filled may say
	for i := range reflect.TypeFor[Config]().NumField() {
		offered = append(offered, fmt.Sprint("value ", i))
	}
	s, _ := open(t, Options{Models: Models{offered, offered, offered}})
	ctx, root := ctxOf(t), admin(t, s)
	in := TenantInput{ID: "acme", Name: "Acme", Description: "d", Metadata: map[string]any{"k": []any{"v"}}, Quota: &QuotaUpdate{}}
	filled(t, reflect.ValueOf(&in.Config).Elem())
	filled(t, reflect.ValueOf(in.Quota).Elem())
	*in.Quota.RateLimitProfile = "adr007"
	*in.Config.ChunkOverlap, *in.Config.ChunkSize, *in.Config.Gleaning = 10, 100, 1
	in.Config.LLMModelKwargs = map[string]any{"temperature": 0.5}
	made, err := s.CreateTenant(ctx, root, in)
	require.NoError(t, err)
	got, err := s.Tenant(ctx, root, "acme")
	require.NoError(t, err)
	require.Equal(t, made, got)
	require.Equal(t, in.Config, got.Config)
	var quota Quota
	require.Equal(t, quota.apply(in.Quota), got.Quota)
	require.Equal(t, in.Metadata, got.Metadata)

	// Each field of the tenant's configuration alone, then each of the quota.
	for i := range reflect.TypeFor[Config]().NumField() {
		var one Config
		reflect.ValueOf(&one).Elem().Field(i).Set(reflect.ValueOf(in.Config).Field(i))
		_, err := s.UpdateTenant(ctx, root, "acme", TenantUpdate{Config: &one})
		require.NoError(t, err)
	}
	name := "Acme & Sons"
	later, err := s.UpdateTenant(ctx, root, "acme", TenantUpdate{Name: &name, Config: &Config{TopK: new(int)}})
	require.ErrorIs(t, err, ErrBadInput, "top_k 0")
	require.Zero(t, later)
	later, err = s.UpdateTenant(ctx, root, "acme", TenantUpdate{Name: &name})
	require.NoError(t, err)
	got.Name, got.UpdatedAt = name, later.UpdatedAt
	require.Equal(t, got, later)
	seven := int64(7)
	later, err = s.UpdateTenant(ctx, root, "acme", TenantUpdate{Quota: &QuotaUpdate{MaxDocuments: &seven}})
	require.NoError(t, err)
	got.Quota.MaxDocuments = 7
	require.Equal(t, got.Quota, later.Quota)

	kb := KBInput{ID: "main", Name: "Main", Description: "d", Metadata: map[string]any{"k": "v"}}
	filled(t, reflect.ValueOf(&kb.Config).Elem())
	*kb.Config.ChunkSize, *kb.Config.ChunkOverlap, *kb.Config.Gleaning = 100, 10, 2
	kb.Config.LLMModelKwargs = map[string]any{"max_tokens": float64(9)}
	madeKB, err := s.CreateKB(ctx, root, "acme", kb)
	require.NoError(t, err)
	gotKB, err := s.KB(ctx, root, "acme", "main")
	require.NoError(t, err)
	require.Equal(t, madeKB, gotKB)
	require.Equal(t, kb.Config, gotKB.Config)
	description := "another"
	laterKB, err := s.UpdateKB(ctx, root, "acme", "main", KBUpdate{Description: &description})
	require.NoError(t, err)
	gotKB.Description = description
	require.Equal(t, gotKB, laterKB)

	// The wire names are the contract.
	b, err := json.Marshal(later)
	require.NoError(t, err)
	for _, field := range []string{"tenant_id", "tenant_name", "description", "config", "quota", "is_active", "created_at", "updated_at",
		"created_by", "updated_by", "metadata", "kb_count", "total_storage_mb", "max_kb_per_tenant", "llm_model_kwargs", "cosine_threshold"} {
		require.Contains(t, string(b), `"`+field+`"`)
	}
}

// What is returned is the caller's: changing it changes nothing here.
func TestTenant_AnswersAreCopies(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main")
	root := admin(t, s)
	_, err := s.UpdateTenant(ctxOf(t), root, "acme", TenantUpdate{Metadata: map[string]any{"k": "v"}})
	require.NoError(t, err)
	got, err := s.Tenant(ctxOf(t), root, "acme")
	require.NoError(t, err)
	got.Metadata["k"] = "changed"
	again, err := s.Tenant(ctxOf(t), root, "acme")
	require.NoError(t, err)
	require.Equal(t, "v", again.Metadata["k"])
}

// A name is taken whatever its case or width, free again after a rename or a deletion,
// and another tenant's business is its own.
func TestKB_NamesAreUniqueInTheTenant(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme", "globex")
	ctx, root := ctxOf(t), admin(t, s)
	create := func(tenant, name string) (KB, error) { return s.CreateKB(ctx, root, tenant, KBInput{Name: name}) }
	first, err := create("acme", "Straße  und Meer")
	require.NoError(t, err)
	for _, same := range []string{"Straße  und Meer", "strasse und meer", "STRASSE UND  MEER", "Ｓtraße und Meer"} {
		_, err := create("acme", same)
		require.ErrorIs(t, err, ErrConflict, same)
	}
	_, err = create("globex", "Straße und Meer")
	require.NoError(t, err)
	other, err := create("acme", "other")
	require.NoError(t, err)
	taken, free, again := "STRASSE und meer", "Free", "strasse UND meer"
	_, err = s.UpdateKB(ctx, root, "acme", other.ID, KBUpdate{Name: &taken})
	require.ErrorIs(t, err, ErrConflict)
	renamed, err := s.UpdateKB(ctx, root, "acme", first.ID, KBUpdate{Name: &again})
	require.NoError(t, err, "another spelling of its own name")
	require.Equal(t, again, renamed.Name)
	_, err = s.UpdateKB(ctx, root, "acme", first.ID, KBUpdate{Name: &free})
	require.NoError(t, err)
	_, err = s.UpdateKB(ctx, root, "acme", other.ID, KBUpdate{Name: &taken})
	require.NoError(t, err)
	require.NoError(t, s.DeleteKB(ctx, root, "acme", other.ID))
	_, err = create("acme", "strasse und meer")
	require.NoError(t, err)
	_, err = s.CreateKB(ctx, root, "acme", KBInput{ID: first.ID, Name: "x"})
	require.ErrorIs(t, err, ErrConflict, "a taken id")
	_, err = s.CreateTenant(ctx, root, TenantInput{ID: "acme", Name: "x"})
	require.ErrorIs(t, err, ErrConflict)
	for _, bad := range []string{"", " ", " x", "x ", "a\nb", "a\x00b", "a\u202eb", "\xff", strings.Repeat("ä", 256), strings.Repeat("ﷺ", 255)} {
		_, err := create("acme", bad)
		require.ErrorIs(t, err, ErrBadInput, "%q", bad)
	}
	_, err = create("acme", strings.Repeat("ä", 255))
	require.NoError(t, err)
}

// A list shows what the caller may see, in order, page by page.
func TestKBs_CutToTheCaller(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/a", "acme/b", "acme/c", "acme/d", "globex/a", "globex/z")
	list := func(p Principal, limit int) (ids []string) {
		for cursor := ""; ; {
			page, err := s.KBs(ctxOf(t), p, "acme", PageRequest{Cursor: cursor, Limit: limit})
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.Items), limit)
			for _, kb := range page.Items {
				ids = append(ids, kb.ID)
				require.Equal(t, "acme", kb.TenantID)
			}
			if cursor = page.NextCursor; cursor == "" {
				require.Equal(t, len(ids), page.Total)
				return ids
			}
		}
	}
	for limit := 1; limit < 6; limit++ {
		require.Equal(t, []string{"a", "b", "c", "d"}, list(member(t, s, "acme", RoleViewer), limit))
		require.Equal(t, []string{"a", "b", "c", "d"}, list(admin(t, s), limit))
		require.Equal(t, []string{"b", "d"}, list(member(t, s, "acme", RoleViewer, "d", "b", "nope"), limit))
	}
	page, err := s.Tenants(ctxOf(t), admin(t, s), PageRequest{Limit: 1})
	require.NoError(t, err)
	require.Equal(t, "acme", page.Items[0].ID)
	require.Equal(t, 4, page.Items[0].KBCount)
	require.Equal(t, 2, page.Total)
	page, err = s.Tenants(ctxOf(t), admin(t, s), PageRequest{Limit: 1, Cursor: page.NextCursor})
	require.NoError(t, err)
	require.Equal(t, "globex", page.Items[0].ID)
	require.Empty(t, page.NextCursor)
	_, err = s.Tenants(ctxOf(t), member(t, s, "acme", RoleAdmin), PageRequest{})
	require.ErrorIs(t, err, ErrDenied)
}

// Many at once never get past a quota, and a deletion makes room.
func TestQuota_KBs(t *testing.T) {
	s, _ := open(t, Options{MaxKBsPerTenant: 5, MaxTenants: 2})
	found(t, s, "acme", "globex")
	ctx, root := ctxOf(t), admin(t, s)
	_, err := s.CreateTenant(ctx, root, TenantInput{Name: "third"})
	require.ErrorIs(t, err, ErrQuota)
	var ok, refused atomic.Int64
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := s.CreateKB(ctx, root, "acme", KBInput{ID: fmt.Sprint("kb-", i), Name: fmt.Sprint(i)})
			if err == nil {
				ok.Add(1)
			} else {
				refused.Add(1)
				var q *QuotaError
				require.ErrorAs(t, err, &q)
				require.EqualValues(t, 5, q.Limit)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 5, ok.Load())
	require.EqualValues(t, 15, refused.Load())
	page, err := s.KBs(ctx, root, "acme", PageRequest{})
	require.NoError(t, err)
	require.NoError(t, s.DeleteKB(ctx, root, "acme", page.Items[0].ID))
	_, err = s.CreateKB(ctx, root, "acme", KBInput{Name: "again"})
	require.NoError(t, err)
	_, err = s.CreateKB(ctx, root, "acme", KBInput{Name: "more"})
	require.ErrorIs(t, err, ErrQuota)
	require.NoError(t, s.DeleteTenant(ctx, root, "globex"))
	_, err = s.CreateTenant(ctx, root, TenantInput{Name: "third"})
	require.NoError(t, err)
}

// Out of range is refused with the field named.
func TestConfig_Ranges(t *testing.T) {
	s, _ := open(t, Options{})
	found(t, s, "acme/main")
	root := admin(t, s)
	for body, field := range map[string]string{
		`{"config":{"top_k":0}}`:                                   `config.top_k`,
		`{"config":{"chunk_top_k":1001}}`:                          `config.chunk_top_k`,
		`{"config":{"cosine_threshold":1.5}}`:                      `config.cosine_threshold`,
		`{"config":{"llm_temperature":-1}}`:                        `config.llm_temperature`,
		`{"config":{"llm_model":""}}`:                              `config.llm_model`,
		`{"config":{"embedding_model":"a\nb"}}`:                    `config.embedding_model`,
		`{"config":{"chunk_size":100,"chunk_overlap":100}}`:        `config.chunk_overlap`,
		`{"quota":{"max_documents":-1}}`:                           `quota.max_documents`,
		`{"quota":{"rate_limit_profile":"ADR007"}}`:                `quota.rate_limit_profile`,
		`{"quota":{"max_documents_per_hour":-1}}`:                  `quota.max_documents_per_hour`,
		`{"quota":{"max_kb_per_tenant":10001}}`:                    `quota.max_kb_per_tenant`,
		`{"tenant_name":""}`:                                       `tenant_name`,
		`{"metadata":{"a":"` + strings.Repeat("x", 17<<10) + `"}}`: `metadata`,
		`{"description":"` + strings.Repeat("x", 5<<10) + `"}`:     `description`,
	} {
		var in TenantUpdate
		require.NoError(t, json.Unmarshal([]byte(body), &in))
		_, err := s.UpdateTenant(ctxOf(t), root, "acme", in)
		var f *FieldError
		require.ErrorAs(t, err, &f, "%.80s", body)
		require.Equal(t, field, f.Field)
	}
}
