// Package tenancy says who may see what, and is the only door to a knowledge base's
// records.
//
// A request's credential becomes a Principal (auth.go: tokens in token.go, signed with
// what tokenkey.go reads; API keys in key.go). An account (user.go) that is a member of a
// tenant (member.go) gets a token by its password (signin.go, with password.go's hashes
// and lockout.go's patience). A Principal opens a Space of one knowledge base with one permission
// (Store.Enter in enter.go), and inside Space.View and Space.Commit a Tx reads and
// writes records under relative keys (space.go). Accepted work comes back in through
// Store.Resume with the permission it was accepted with (job.go), work nobody asked for
// through Store.Maintain. There is no other way: no exported method or field leads from
// a Space to the database, to a prefix or to another Space, and a test walks them all.
//
// Rights are decided in one function, Principal.holds, over the matrix in
// permission.go. They are asked first, what exists second: a stranger cannot tell a
// foreign tenant from one that was never there.
//
// The catalogue of tenants (tenant.go), knowledge bases (kb.go) and keys lives in the
// system namespace, laid out in records.go; catalogue.go keeps what every request asks
// for in memory. Each change and its audit record (trail.go, package audit) are one
// transaction; what changes nothing is recorded by clerk.go, notary.go signs the log and
// retain.go cuts it. A knowledge base dies in a fixed order, in delete.go; check.go verifies
// that everything adds up, and upgrade.go brings a folder of an earlier format forward.
// What tenants and knowledge bases may set is in config.go, what they cost in overhead.go.
// Secrets are made and judged in secret.go.
//
// What a tenant may use is its Quota (quota.go); what it has in use is counted by
// Space.Commit in the transaction that changes it (quota_count.go), but for calls and model
// tokens of the month, which are kept in memory and written down (usage.go). Rate limits
// are sliding windows (limit.go) of who has entered a Space (limit_rates.go).
// Entities and relations are counted by engine, which knows what they are.
package tenancy
