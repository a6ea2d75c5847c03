package tenancy

import (
	"fmt"
	"math"
)

// Quota is what a tenant may use; 0 is no limit, but for MaxKBs, where the server
// has a limit of its own. Numbers that are pointers go before the rate limits' profile
// where they are there.
type Quota struct {
	MaxDocuments          int64   `json:"max_documents"`  // of the tenant, in whatever state
	MaxStorageGB          float64 `json:"max_storage_gb"` // 10^9 bytes of records, of the tenant
	MaxConcurrentQueries  int64   `json:"max_concurrent_queries"`
	MaxMonthlyAPICalls    int64   `json:"max_monthly_api_calls"`    // 0: the profile's
	MaxMonthlyModelTokens int64   `json:"max_monthly_model_tokens"` // of chat, embedding and rerank models, as their servers count
	MaxKBs                int64   `json:"max_kb_per_tenant"`
	MaxEntitiesPerKB      int64   `json:"max_entities_per_kb"`      // see Tx.NameLimits
	MaxRelationshipsPerKB int64   `json:"max_relationships_per_kb"` // see Tx.NameLimits

	RateLimitProfile       string `json:"rate_limit_profile,omitempty"`         // one of RateLimitProfiles; "": the server's
	MaxQueriesPerMinute    *int64 `json:"max_queries_per_minute,omitempty"`     // of the tenant
	MaxKeyQueriesPerMinute *int64 `json:"max_key_queries_per_minute,omitempty"` // of each key and user
	MaxDocumentsPerHour    *int64 `json:"max_documents_per_hour,omitempty"`     // of the tenant
}

// QuotaUpdate changes the fields of a Quota that are not nil.
type QuotaUpdate struct {
	MaxDocuments           *int64   `json:"max_documents"`
	MaxStorageGB           *float64 `json:"max_storage_gb"`
	MaxConcurrentQueries   *int64   `json:"max_concurrent_queries"`
	MaxMonthlyAPICalls     *int64   `json:"max_monthly_api_calls"`
	MaxMonthlyModelTokens  *int64   `json:"max_monthly_model_tokens"`
	MaxKBs                 *int64   `json:"max_kb_per_tenant"`
	MaxEntitiesPerKB       *int64   `json:"max_entities_per_kb"`
	MaxRelationshipsPerKB  *int64   `json:"max_relationships_per_kb"`
	RateLimitProfile       *string  `json:"rate_limit_profile"`
	MaxQueriesPerMinute    *int64   `json:"max_queries_per_minute"`
	MaxKeyQueriesPerMinute *int64   `json:"max_key_queries_per_minute"`
	MaxDocumentsPerHour    *int64   `json:"max_documents_per_hour"`
}

const (
	quotaStorage        = "max_storage_gb"
	defaultMaxDocuments = 100_000
	defaultMaxStorageGB = 100 // ADR 007's MAX_STORAGE_GB
	gb                  = 1e9
)

// defaultQuota is what a new tenant gets: ADR 007's numbers, with room for a first
// folder of documents where its own leave none.
func (o Options) defaultQuota() Quota {
	return Quota{
		MaxDocuments: o.MaxDocuments, MaxStorageGB: o.MaxStorageGB, MaxConcurrentQueries: 10, MaxKBs: int64(o.MaxKBsPerTenant),
		MaxEntitiesPerKB: 100_000, MaxRelationshipsPerKB: 500_000,
	}
}

// maxKBs is how many knowledge bases the quota allows: 0 leaves it to the server.
func (q Quota) maxKBs() int64 {
	if q.MaxKBs == 0 {
		return hardMaxKBsPerTenant
	}
	return q.MaxKBs
}

// maxBytes is MaxStorageGB in bytes; 0 is no limit.
func (q Quota) maxBytes() int64 { return int64(min(q.MaxStorageGB*gb, math.MaxInt64/2)) }

// apply returns q with the fields u sets replaced; a nil u changes nothing.
func (q Quota) apply(u *QuotaUpdate) Quota {
	if u == nil {
		return q
	}
	set := func(to *int64, v *int64) {
		if v != nil {
			*to = *v
		}
	}
	override := func(to **int64, v *int64) {
		if v != nil {
			n := *v
			*to = &n
		}
	}
	set(&q.MaxDocuments, u.MaxDocuments)
	set(&q.MaxConcurrentQueries, u.MaxConcurrentQueries)
	set(&q.MaxMonthlyAPICalls, u.MaxMonthlyAPICalls)
	set(&q.MaxMonthlyModelTokens, u.MaxMonthlyModelTokens)
	set(&q.MaxKBs, u.MaxKBs)
	set(&q.MaxEntitiesPerKB, u.MaxEntitiesPerKB)
	set(&q.MaxRelationshipsPerKB, u.MaxRelationshipsPerKB)
	override(&q.MaxQueriesPerMinute, u.MaxQueriesPerMinute)
	override(&q.MaxKeyQueriesPerMinute, u.MaxKeyQueriesPerMinute)
	override(&q.MaxDocumentsPerHour, u.MaxDocumentsPerHour)
	if u.MaxStorageGB != nil {
		q.MaxStorageGB = *u.MaxStorageGB
	}
	if u.RateLimitProfile != nil {
		q.RateLimitProfile = *u.RateLimitProfile
	}
	return q
}

// check returns a *FieldError for the first field out of its range.
func (q Quota) check() error {
	most := int64(math.MaxInt64 / 2)
	if _, ok := RateLimitProfiles[q.RateLimitProfile]; !ok && q.RateLimitProfile != "" {
		return badField("quota.rate_limit_profile", fmt.Sprintf("must be one of %s, or empty for the server's", profileNames()))
	}
	return firstError(
		within("quota.max_documents", &q.MaxDocuments, 0, most),
		within("quota.max_storage_gb", &q.MaxStorageGB, 0, 1e9),
		within("quota.max_concurrent_queries", &q.MaxConcurrentQueries, 0, most),
		within("quota.max_monthly_api_calls", &q.MaxMonthlyAPICalls, 0, most),
		within("quota.max_monthly_model_tokens", &q.MaxMonthlyModelTokens, 0, most),
		within("quota.max_kb_per_tenant", &q.MaxKBs, 0, hardMaxKBsPerTenant),
		within("quota.max_entities_per_kb", &q.MaxEntitiesPerKB, 0, most),
		within("quota.max_relationships_per_kb", &q.MaxRelationshipsPerKB, 0, most),
		within("quota.max_queries_per_minute", q.MaxQueriesPerMinute, 0, maxRateLimit),
		within("quota.max_key_queries_per_minute", q.MaxKeyQueriesPerMinute, 0, maxRateLimit),
		within("quota.max_documents_per_hour", q.MaxDocumentsPerHour, 0, maxRateLimit),
	)
}
