// Package alerts holds deploy/ to Prometheus itself: its parser reads the rules and the
// dashboard, and its engine says when each alert fires. It is a module of its own, for
// the product does not need Prometheus.
package alerts

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/stretchr/testify/require"
)

// up labels a series as a scrape of alcove does.
const up = `{job="alcove",instance="a:8020"}`

// Series of a calm hour and of one that an alert is for, a sample a minute, in
// promtool's notation: start+step x count.
var cases = map[string]struct{ calm, alarming string }{
	"AlcoveIsolationViolated": {"lightrag_isolation_violations_total" + up + " 0x60", "lightrag_isolation_violations_total" + up + " 0x58 1 1"},
	"AlcoveCrossTenantProbing": {
		"lightrag_cross_tenant_access_attempts_total" + up + " 0+6x60", "lightrag_cross_tenant_access_attempts_total" + up + " 0+60x60",
	},
	"AlcoveFailedSignIns":             {"lightrag_failed_auth_attempts_total" + up + " 0+30x60", "lightrag_failed_auth_attempts_total" + up + " 0+120x60"},
	"AlcoveAuditBehindItsCheckpoints": {"lightrag_audit_behind_outside" + up + " 0x60", "lightrag_audit_behind_outside" + up + " 1x60"},
	"AlcoveAuditDropped":              {"lightrag_audit_dropped_total" + up + " 7x60", "lightrag_audit_dropped_total" + up + " 7x50 8x10"},
	"AlcoveAuditCheckpointsNotKept": {
		"lightrag_audit_checkpoint_file_failures_total" + up + " 0x60", "lightrag_audit_checkpoint_file_failures_total" + up + " 0x50 1x10",
	},
	"AlcoveSlowQueries": {
		latencies("95", "100"), latencies("10", "90"), // of a hundred a minute, those within a second
	},
	"AlcoveCacheThrashes": {
		"lightrag_rag_instance_cache_misses_total" + up + " 0+5x60\nlightrag_rag_instance_cache_hits_total" + up + " 0+95x60",
		"lightrag_rag_instance_cache_misses_total" + up + " 0+20x60\nlightrag_rag_instance_cache_hits_total" + up + " 0+80x60",
	},
	"AlcoveModelServerFails": {
		"lightrag_model_errors_total" + up + " 0+1x60\nlightrag_model_request_seconds_count" + up + " 0+100x60",
		"lightrag_model_errors_total" + up + " 0+30x60\nlightrag_model_request_seconds_count" + up + " 0+100x60",
	},
	"AlcoveIngestStands": {
		"lightrag_documents_waiting" + up + " 9x60\nlightrag_documents_processed_total" + up + " 0+1x60",
		"lightrag_documents_waiting" + up + " 9x60\nlightrag_documents_processed_total" + up + " 5x60",
	},
	"AlcoveDown":           {"up" + up + " 1x60", "up" + up + " 0x60"},
	"AlcoveStoreFailed":    {"lightrag_store_failed" + up + " 0x60", "lightrag_store_failed" + up + " 1x60"},
	"AlcoveDiskNearlyFull": {"lightrag_store_free_bytes" + up + " 5e9x60", "lightrag_store_free_bytes" + up + " 1e9x60"},
	"AlcoveMemoryHigh": {
		"process_resident_memory_bytes" + up + " 5e9x60\nlightrag_rag_instance_bytes" + up + " 1e9x60",
		"process_resident_memory_bytes" + up + " 7e9x60\nlightrag_rag_instance_bytes" + up + " 1e9x60",
	},
}

// latencies are questions of two tenants, so many a minute within a second and in all.
func latencies(within, all string) (series string) {
	for _, tenant := range []string{"acme", "globex"} {
		for _, b := range [][2]string{{"1", within}, {"2.5", all}, {"+Inf", all}} {
			series += `lightrag_query_latency_per_tenant_seconds_bucket{job="alcove",instance="a:8020",tenant_id="` + tenant + `",le="` + b[0] + `"} 0+` + b[1] + "x60\n"
		}
	}
	return series
}

// Prometheus takes the rules, and each alert fires in the hour it is for, for as long
// as its rule wants, and in no calm one; nor does it where nothing has happened yet.
func TestAlerts_Fire(t *testing.T) {
	read := parser.NewParser(parser.Options{})
	b, err := os.ReadFile("../../deploy/alerts.yml")
	require.NoError(t, err)
	groups, errs := rulefmt.Parse(b, false, model.UTF8Validation, read, slog.Default())
	require.Empty(t, errs)
	seen := map[string]bool{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			c, ok := cases[r.Alert]
			require.True(t, ok, "%s has no case", r.Alert)
			seen[r.Alert] = true
			t.Run(r.Alert, func(t *testing.T) {
				require.True(t, fires(t, r, c.alarming), "it does not fire")
				require.False(t, fires(t, r, c.calm), "it fires in a calm hour")
				require.False(t, fires(t, r, `up{job="alcove",instance="a:8020"} 1x60`), "it fires where nothing is known")
			})
		}
	}
	require.Len(t, seen, len(cases), "a case is of no alert")
}

// fires reports whether a rule's expression holds at the end of the hour and for as long
// before as it asks.
func fires(t *testing.T, r rulefmt.Rule, series string) bool {
	store := promqltest.LoadedStorage(t, "load 1m\n"+series)
	defer store.Close()
	engine := promqltest.NewTestEngine(t, false, 0, 100_000)
	for back := time.Duration(0); back <= time.Duration(r.For); back += time.Minute {
		q, err := engine.NewInstantQuery(t.Context(), store, nil, r.Expr, time.Unix(0, 0).Add(59*time.Minute-back))
		require.NoError(t, err)
		v, err := result(t.Context(), q)
		require.NoError(t, err)
		if len(v) == 0 {
			return false
		}
	}
	return true
}

func result(ctx context.Context, q promql.Query) (promql.Vector, error) {
	defer q.Close()
	return q.Exec(ctx).Vector()
}

// Prometheus' parser takes every expression of the dashboard.
func TestDashboard_Parses(t *testing.T) {
	b, err := os.ReadFile("../../deploy/grafana-dashboard.json")
	require.NoError(t, err)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(b, &board))
	read, n := parser.NewParser(parser.Options{}), 0
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			_, err := read.ParseExpr(target.Expr)
			require.NoError(t, err, p.Title)
			n++
		}
	}
	require.Greater(t, n, 20)
}
