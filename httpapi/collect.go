package httpapi

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"alcove/engine"
)

// rooms reads what the other rooms count, in plain atomics or in counters that they
// keep in their records: a scrape scans nothing and loads nothing.
type rooms struct{ s *Server }

// Describe sends nothing: what there is is known when it is collected.
func (c *rooms) Describe(chan<- *prometheus.Desc) {}

// Collect sends everything.
func (c *rooms) Collect(ch chan<- prometheus.Metric) {
	send := func(kind prometheus.ValueType, name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(metricPrefix+name, help, nil, nil), kind, v)
	}
	gauge := func(name, help string, v float64) { send(prometheus.GaugeValue, name, help, v) }
	count := func(name, help string, v float64) { send(prometheus.CounterValue, name, help, v) }
	times := func(name, help string, d engine.Durations) {
		ch <- prometheus.MustNewConstHistogram(prometheus.NewDesc(metricPrefix+name, help, nil, nil), d.Count, d.Sum.Seconds(), d.Buckets)
	}

	census := c.s.o.Store.Census()
	gauge("active_tenants", "Tenants that are not suspended.", float64(census.ActiveTenants))
	gauge("tenants", "Tenants, suspended ones among them.", float64(census.Tenants))
	gauge("total_kbs", "Knowledge bases of all tenants.", float64(census.KBs))

	db := c.s.o.Store.Stats()
	count("isolation_violations_total", "Records of another namespace that the store gave back and that were not handed out. Must stay 0.", float64(db.Foreign))
	count("store_commits_total", "Transactions that were asked for and taken.", float64(db.Commits))
	count("store_refused_total", "Transactions that were asked for and refused.", float64(db.Refused))
	count("store_merges_total", "Synced writes that carried them.", float64(db.Merges))
	count("store_written_bytes_total", "Bytes of keys and values written.", float64(db.Bytes))
	gauge("store_table_bytes", "Bytes of tables on disk.", float64(db.TableBytes))
	gauge("store_free_bytes", "Free bytes where the data folder is.", float64(db.FreeBytes))
	gauge("store_failed", "1 when a write has failed and no more are taken.", truth(db.Failed))

	pool := c.s.o.Engine.Stats()
	count("rag_instance_cache_hits_total", "Uses of a knowledge base that was in memory.", float64(pool.Hits))
	count("rag_instance_cache_misses_total", "Uses of a knowledge base that was not.", float64(pool.Misses))
	count("rag_instance_evictions_total", "Knowledge bases put out of memory to make room.", float64(pool.Evictions))
	count("rag_instance_idle_total", "Knowledge bases put out of memory because nobody asked for them.", float64(pool.Idle))
	count("rag_instance_trims_total", "Times a knowledge base gave up what it can make again for little, and stayed.", float64(pool.Trims))
	count("rag_instance_snapshots_total", "Snapshots of a knowledge base written for later loads.", float64(pool.Snapshots))
	count("rag_instance_restored_total", "Loads that read a snapshot instead of all records.", float64(pool.Restored))
	count("rag_instance_refused_total", "Uses refused because all that is in memory is in use or pinned.", float64(pool.Refused))
	count("rag_instance_load_failures_total", "Loads of knowledge bases that failed.", float64(pool.FailedLoads))
	gauge("rag_instance_cache_size", "Knowledge bases in memory.", float64(pool.Open))
	gauge("rag_instance_pinned", "Knowledge bases in memory that are pinned.", float64(pool.Pinned))
	gauge("rag_instance_bytes", "Bytes of knowledge bases in memory.", float64(pool.Bytes))
	gauge("rag_instance_limit_bytes", "Bytes that knowledge bases may take in memory.", float64(pool.MaxBytes))
	times("rag_instance_load_seconds", "Time of loading a knowledge base.", pool.Loading)

	queue := c.s.o.Engine.QueueStats()
	gauge("documents_waiting", "Accepted documents that wait for a worker.", float64(queue.Waiting))
	gauge("documents_running", "Documents in a worker's hands.", float64(queue.Running))
	count("documents_processed_total", "Documents that became visible.", float64(queue.Processed))
	count("documents_failed_total", "Documents that failed for good.", float64(queue.Failed))

	t := c.s.o.Engine.Times()
	times("document_processing_time_seconds", "Time from a worker's taking a document up to its being visible.", t.Documents)
	times("model_request_seconds", "Time of calls of model servers, embeddings among them.", t.Models)
	times("embedding_request_seconds", "Time of calls of the embedder, built in or not.", t.Embeddings)
	count("model_errors_total", "Calls of model servers that failed.", float64(t.ModelErrors))

	audit := c.s.o.Store.AuditStats()
	count("audit_entries_total", "Entries of the audit log, those that retention has cut among them.", float64(audit.Entries))
	count("audit_dropped_total", "Acts that were not recorded: the queue was full, or too many were refused in a second.", float64(audit.Dropped))
	count("audit_checkpoints_total", "Checkpoints of the audit log signed since the start.", float64(audit.Checkpoints))
	count("audit_checkpoint_file_failures_total", "Checkpoints that could not be appended to the checkpoint file.", float64(audit.FileFailures))
	gauge("audit_unsigned_entries", "Entries behind the last checkpoint.", float64(audit.Unchecked))
	gauge("audit_behind_outside", "1 when the checkpoint file told at start of more entries than the store has.", truth(audit.BehindOutside))

	gauge("http_requests_running", "Requests that are being served.", float64(c.s.gate.running()))

	// Only tenants that have series of their own: their number is bounded.
	ctx, stop := context.WithTimeout(context.Background(), scrapeTimeout)
	defer stop()
	used, err := c.s.o.Store.TenantCounts(ctx, c.s.metrics.labelled())
	if err != nil {
		c.s.o.Logger.Warn("what tenants use could not be read for the metrics", "err", err)
		return
	}
	storage := prometheus.NewDesc(metricPrefix+"storage_used_per_tenant_bytes", "Bytes of records, by tenant.", []string{"tenant_id"}, nil)
	documents := prometheus.NewDesc(metricPrefix+"documents_per_tenant", "Documents, by tenant.", []string{"tenant_id"}, nil)
	for id, n := range used {
		ch <- prometheus.MustNewConstMetric(storage, prometheus.GaugeValue, float64(n.StorageBytes), id)
		ch <- prometheus.MustNewConstMetric(documents, prometheus.GaugeValue, float64(n.Documents), id)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
