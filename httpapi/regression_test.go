package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/enginetest"
	"alcove/tenancy"
)

// regressions are the fourteen faults of the multi-tenant LightRAG that came before, as
// the design sources list them, each with the tests that would find it here.
var regressions = map[string][]string{
	"01 a warm cache lets a stranger in":              {"httpapi.TestRegression01_WarmCache", "httpapi.TestMatrix", "tenancy.TestDeleteKB_WarmSpaceIsRefused"},
	"02 what is in use is evicted":                    {"engine.TestPool_KeepsWhatIsInUse", "engine.TestPool_BytesKeepWhatIsInUse", "engine.TestPool_Churn"},
	"03 cold starts wait for each other":              {"engine.TestPool_LoadsOnceAndSideBySide"},
	"04 an unknown id makes something":                {"httpapi.TestRegression04_UnknownIDsMakeNothing"},
	"05 an id in another spelling is another tenant":  {"tenancy.TestEnter_OtherSpellings", "httpapi.TestDoor_TellsAStrangerNothing"},
	"06 joined names run into each other":             {"tenancy.TestSpace_IDsAreNotJoined", "tenancy.TestSpace_NeighboursAreApart", "httpapi.TestRegression06_HostileNames"},
	"07 settings are lost on the way":                 {"tenancy.TestUpdate_EveryFieldRoundTrips", "tenancy.TestKB_NamesAreUniqueInTheTenant", "tenancy.TestConfig_EveryFieldRoundTrips"},
	"08 one document in two bases is one document":    {"httpapi.TestRegression08_TwoBases"},
	"09 a key is more than who made it":               {"tenancy.TestCreateKey_CannotExceedItsMaker", "tenancy.TestRotateKey_GivesNobodyMore", "tenancy.TestMembers_NobodyGrantsWhatTheyDoNotHold", "tenancy.TestDeleteKey", "tenancy.TestOnce"},
	"10 steady traffic below the limit is refused":    {"tenancy.TestLimiter_SteadyTrafficPasses", "tenancy.TestLimiter_NoWindowIsOverItsLimit"},
	"11 a route without a right, an error of no form": {"httpapi.TestRoutes_Rights", "httpapi.TestMount_RefusesARouteWithoutARight", "httpapi.TestRoutes_NoneBesideThePage", "httpapi.TestErrors_TheTableIsWhole"},
	"12 the audit log can be changed unseen":          {"tenancy.TestAudit_AttacksAreFound", "tenancy.TestRetention_CutsWholeDays"},
	"13 a probe loads knowledge bases":                {"httpapi.TestRegression13_ProbesLoadNothing"},
	"14 each base has model calls of its own":         {"httpapi.TestRegression14_OneBoundOnModelCalls"},
}

// Each of the fourteen is named, and the tests named are there.
func TestRegressions_AreNamed(t *testing.T) {
	require.Len(t, regressions, 14)
	for what, tests := range regressions {
		require.NotEmpty(t, tests, what)
		for _, name := range tests {
			room, test, _ := strings.Cut(name, ".")
			files, err := filepath.Glob(filepath.Join("..", room, "*_test.go"))
			require.NoError(t, err)
			found := false
			for _, file := range files {
				source, err := os.ReadFile(file)
				require.NoError(t, err)
				found = found || strings.Contains(string(source), "\nfunc "+test+"(t *testing.T) {")
			}
			require.True(t, found, "%s: there is no test %s", what, name)
		}
	}
}

// 1: that a knowledge base is loaded, and answers its owner, lets nobody else in: not a
// stranger, not who asks without a credential, not who had a right until a moment ago.
func TestRegression01_WarmCache(t *testing.T) {
	h := newHouse(t, Options{})
	h.Add("main", "doc-1", "Ada wrote to Babbage.")
	h.Wait()
	ask := func(credential string) int {
		return h.as(credential, post, acmeMain+"/query", `{"query":"Who wrote to Babbage?"}`).Code
	}
	owner := h.key("acme", nil, every...)
	require.Equal(t, 200, ask(owner))
	require.NotZero(t, h.Engine.Stats().Open)
	warm := func() { require.Equal(t, 200, ask(owner)) }
	require.Equal(t, 403, ask(h.key("beta", nil, every...)))
	require.Equal(t, 403, ask(h.key("acme", &[]string{"other"}, every...)))
	require.Equal(t, 401, ask(""))

	made := h.ok(201, post, v1+"/tenants/acme/api-keys", `{"key_name":"k"}`)
	require.Equal(t, 200, ask(made["key"].(string)))
	h.ok(200, del, v1+"/tenants/acme/api-keys/"+made["key_id"].(string), "")
	require.Equal(t, 401, ask(made["key"].(string)), "revoked")

	h.ok(201, post, v1+"/users", `{"user":"ada","password":"`+goodPassword+`"}`)
	h.ok(201, post, v1+"/tenants/acme/members", `{"user":"ada","role":"viewer","knowledge_base_ids":["main","other"]}`)
	in := func() string {
		return data(t, h.as("", post, v1+"/auth/token", `{"username":"ada","password":"`+goodPassword+`"}`))["access_token"].(string)
	}
	before := in()
	require.Equal(t, 200, ask(before))
	h.ok(200, put, v1+"/tenants/acme/members/ada", `{"knowledge_base_ids":["other"]}`)
	warm()
	require.Equal(t, 401, ask(before), "taken off the list")
	require.Equal(t, 403, ask(in()))

	warm()
	h.ok(200, put, v1+"/tenants/acme", `{"is_active":false}`)
	require.Equal(t, 403, ask(owner), "suspended")
	h.ok(200, put, v1+"/tenants/acme", `{"is_active":true}`)
	warm()
	h.ok(200, del, acmeMain, "")
	require.Equal(t, 404, ask(owner), "deleted")
	h.ok(200, del, v1+"/tenants/acme", "")
	require.Equal(t, 401, ask(owner), "deleted with its tenant")
}

// 4: asking for what is not there makes nothing: no tenant, no knowledge base, no record
// of one, and nothing in memory.
func TestRegression04_UnknownIDsMakeNothing(t *testing.T) {
	h := newHouse(t, Options{})
	state := func() (tenancy.Counts, engine.PoolStats) {
		c, err := h.Store.Check(context.Background(), func(p string) { t.Error(p) })
		require.NoError(t, err)
		c.AuditRecords, c.Records, c.Bytes = 0, 0, 0 // who was refused is recorded
		return c, h.Engine.Stats()
	}
	owner, stranger := h.key("acme", nil, every...), h.key("beta", nil, every...)
	counts, stats := state()
	for _, line := range h.server.routeTable() {
		if !strings.Contains(line.pattern, ":kb") {
			continue
		}
		for _, at := range [][2]string{{"acme", "nothing"}, {"nobody", "main"}, {"acme", "MAIN"}, {"acme", "..%2fmain"}, {"acme", strings.Repeat("a", 300)}} {
			for _, who := range []string{owner, stranger, h.admin, ""} {
				require.GreaterOrEqual(t, h.knock(who, line, at[0], at[1]).Code, 400, line.pattern)
			}
		}
	}
	c, s := state()
	require.Equal(t, counts, c)
	require.Equal(t, stats, s)
	require.Equal(t, 2.0, h.ok(200, get, v1+"/tenants/acme/knowledge-bases", "")["total"])
}

// 6: names that hold what elsewhere separates names are names like others, each its own;
// what cannot be a name is refused.
func TestRegression06_HostileNames(t *testing.T) {
	h := newHouse(t, Options{})
	at := acmeMain + "/graph/entity"
	names := []string{"a", "b", "a:b", "b:a", "a/b", "a_b", "a:b:c", "main:a", "acme:main:a", "a|b", "a<SEP>b", "..", "%2e%2e", `a\b`}
	body := func(name string) string {
		b, err := json.Marshal(map[string]any{"entity_name": name, "entity_data": map[string]any{"description": "It is " + name + "."}})
		require.NoError(t, err)
		return string(b)
	}
	for _, name := range names {
		h.ok(201, post, at, body(name))
	}
	for _, name := range names {
		got := h.ok(200, get, at+"?name="+url.QueryEscape(name), "")
		require.Equal(t, name, got["id"])
		require.Equal(t, "It is "+name+".", got["properties"].(map[string]any)["description"])
		refused(t, h.as(h.admin, get, strings.Replace(at, "/main/", "/other/", 1)+"?name="+url.QueryEscape(name), ""), 404, "NOT_FOUND")
	}
	for _, bad := range []string{"", " ", "a\x00b", strings.Repeat("a", 64<<10)} {
		refused(t, h.as(h.admin, post, at, body(bad)), 400, "INVALID_REQUEST")
	}
}

// 8: the same text under the same id in two knowledge bases is two documents: each has
// its own status and its own answers, and deleting one leaves the other.
func TestRegression08_TwoBases(t *testing.T) {
	h := newHouse(t, Options{})
	other := strings.Replace(acmeMain, "/main", "/other", 1)
	for _, at := range []string{acmeMain, other} {
		h.ok(202, post, at+"/documents/text", `{"id":"d","text":"Ada wrote to Babbage."}`)
	}
	h.ok(202, post, other+"/documents/text", `{"id":"e","text":"Grace wrote to Howard."}`)
	h.Wait()
	answer := func(at string) string {
		w := h.as(h.admin, post, at+"/query", `{"query":"Who wrote to Howard?"}`)
		require.Equal(t, 200, w.Code, w.Body)
		return w.Body.String()
	}
	require.Contains(t, answer(other), "Grace")
	require.NotContains(t, answer(acmeMain), "Grace", "the other's answer")
	h.ok(200, del, acmeMain+"/documents/d", "")
	refused(t, h.as(h.admin, get, acmeMain+"/documents/d", ""), 404, "NOT_FOUND")
	require.Equal(t, "processed", h.ok(200, get, other+"/documents/d", "")["status"])
	require.Contains(t, answer(other), "Grace")
}

// 13: probes, metrics and lists, a hundred of each, load no knowledge base.
func TestRegression13_ProbesLoadNothing(t *testing.T) {
	h := newHouse(t, Options{})
	h.Add("main", "doc-1", "Ada wrote to Babbage.")
	h.Wait()
	h.Restart()
	h.server.o.Engine = h.Engine
	before := h.Engine.Stats()
	for _, path := range []string{pathHealth, pathReady, "/metrics", v1 + "/tenants", v1 + "/tenants/acme", v1 + "/tenants/acme/knowledge-bases"} {
		for range 100 {
			require.Less(t, h.as(h.admin, get, path, "").Code, 500, path)
		}
	}
	require.Equal(t, before, h.Engine.Stats())
}

// 14: however many knowledge bases work at once, the server as a whole makes no more
// model calls at once than it was told to.
func TestRegression14_OneBoundOnModelCalls(t *testing.T) {
	const most = 2
	var now, peak atomic.Int64
	together := make(chan struct{})
	ex := &enginetest.Extractor{}
	ex.Before = func(context.Context, int, string) error {
		n := now.Add(1)
		for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
		}
		// Each waits for another one, so that the bound is reached and not only kept.
		select {
		case together <- struct{}{}:
		case <-together:
		}
		now.Add(-1)
		return nil
	}
	h := newHouseWith(t, Options{}, engine.Options{Extractor: ex, ModelConcurrency: most, Workers: 8})
	const bases = 5
	for kb := range bases {
		for doc := range 4 {
			space := h.Space("acme", fmt.Sprint("kb", kb), tenancy.PermKBManage)
			_, err := h.Engine.KB(space).Add(context.Background(), []engine.DocumentInput{{ID: fmt.Sprint("d", doc), FilePath: "d.txt", Content: []byte(fmt.Sprint("Ada wrote to Babbage ", kb, doc))}}, "insert")
			require.NoError(t, err)
		}
	}
	h.Wait()
	require.Equal(t, int64(most), peak.Load())
	require.GreaterOrEqual(t, ex.Calls(), bases*4)
}
