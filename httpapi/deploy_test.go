package httpapi

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"alcove/tenancy"
)

// ruleFile is as much of Prometheus' rule format as our alerts use.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

// queried are the metrics a PromQL expression names, histograms by their base name.
func queried(expr string) (names []string) {
	for _, name := range regexp.MustCompile(`\b(?:lightrag|process|go)_[a-z0-9_]+`).FindAllString(expr, -1) {
		names = append(names, regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, ""))
	}
	return names
}

// exported are the metrics of a scrape of a server that was used, by base name, with
// the labels their series carry.
func exported(t *testing.T) map[string]map[string]bool {
	h := newHouse(t, Options{})
	reader := h.key("acme", nil, tenancy.PermQueryRun, tenancy.PermDocumentRead)
	h.ok(202, post, acmeMain+"/documents/text", `{"text":"Ada wrote to Babbage."}`)
	h.Wait()
	require.Equal(t, 200, h.as(reader, post, acmeMain+"/query", `{"query":"Who wrote?"}`).Code)
	families, err := h.server.metrics.registry.Gather()
	require.NoError(t, err)
	out := map[string]map[string]bool{}
	for _, f := range families {
		labels := map[string]bool{"le": true, "job": true, "instance": true}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				labels[l.GetName()] = true
			}
		}
		out[f.GetName()] = labels
	}
	return out
}

// checkExpr checks what can go wrong in an expression when names change: that its
// metrics are exported and that it groups by labels they have. That Prometheus reads it,
// and when it fires, is tested in tools/alerts.
func checkExpr(t *testing.T, have map[string]map[string]bool, what, expr string) {
	t.Helper()
	names := queried(expr)
	if len(names) == 0 {
		require.Contains(t, expr, "up{", what)
	}
	grouped := regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(expr, -1)
	for _, name := range names {
		require.Contains(t, have, name, "%s: no such metric", what)
		for _, g := range grouped {
			for label := range strings.SplitSeq(g[1], ",") {
				require.True(t, have[name][strings.TrimSpace(label)], "%s: %s has no label %s", what, name, label)
			}
		}
		if strings.HasSuffix(name, "_total") {
			require.Regexp(t, `(rate|increase)\(`+name+`\[|sum\(`+name+`\)`, expr, "%s: a counter is looked at as a rate", what)
		}
	}
}

// Every metric that an alert or a panel of the dashboard names is exported under that
// name, with the labels it is grouped by; every alert says what it means and leads to a page.
func TestDeploy_NamesWhatIsExported(t *testing.T) {
	have := exported(t)
	b, err := os.ReadFile(filepath.Join("..", "deploy", "alerts.yml"))
	require.NoError(t, err)
	var rules ruleFile
	require.NoError(t, yaml.Unmarshal(b, &rules))
	alerts := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			alerts++
			checkExpr(t, have, r.Alert, r.Expr)
			require.Contains(t, []string{"warning", "critical"}, r.Labels["severity"], r.Alert)
			require.NotEmpty(t, r.Annotations["summary"], r.Alert)
			page := filepath.Join("..", filepath.FromSlash(r.Annotations["runbook"]))
			require.FileExists(t, page, r.Alert)
			text, err := os.ReadFile(page)
			require.NoError(t, err)
			require.Contains(t, string(text), r.Alert, "the page does not speak of its alert")
		}
	}
	require.Greater(t, alerts, 10)

	b, err = os.ReadFile(filepath.Join("..", "deploy", "grafana-dashboard.json"))
	require.NoError(t, err)
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(b, &board))
	shown := map[string]bool{}
	for _, p := range board.Panels {
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			checkExpr(t, have, p.Title, target.Expr)
			for _, name := range queried(target.Expr) {
				shown[name] = true
			}
		}
	}
	// ADR 007's list of metrics to track is on the dashboard, whole.
	for _, name := range []string{
		"active_tenants", "total_kbs", "tenant_creation_time_seconds", "cross_tenant_access_attempts_total", "cross_kb_access_attempts_total",
		"isolation_violations_total", "query_latency_per_tenant_seconds", "document_processing_time_seconds", "rag_instance_cache_hits_total",
		"rag_instance_cache_misses_total", "rag_instance_cache_size", "failed_auth_attempts_total", "permission_denials_total", "api_key_usage_total",
		"storage_used_per_tenant_bytes", "documents_per_tenant", "api_calls_per_tenant_total",
	} {
		require.True(t, shown[metricPrefix+name], name)
	}
}
