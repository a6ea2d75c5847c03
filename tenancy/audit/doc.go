// Package audit is the record of what was done: one chain of records per tenant,
// each bound to all before it by an HMAC, so that a record changed, dropped,
// inserted or moved shows, and the first bad one is named.
//
// Every record of every chain is also an entry of one log, in the order in which they
// were written. The log's Merkle tree (tree.go) is signed in checkpoints
// (checkpoint.go), which are of use where whoever owns the store cannot reach them: a tail that
// was cut off with its head, an older store put back, or another branch of it agree
// with themselves and not with those. A Verifier walks the log (verify.go); an export
// carries proofs and is verified without the store (export.go).
//
// The package is pure: it seals, hashes, signs and checks, and stores nothing. What it
// does not give: protection from someone who holds the keys, beyond what checkpoints
// kept elsewhere show.
//
// Records hold ids, names of acts and small facts. Never a secret, never the text
// of a document or of a question: that is for the caller to keep, and the limits
// of Record help.
package audit
