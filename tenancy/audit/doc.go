// Package audit is the record of what was done: one chain of records per tenant,
// each bound to all before it by an HMAC, so that a record changed, dropped,
// inserted or moved shows, and the first bad one is named.
//
// The package is pure: it seals and checks records, and stores nothing. A Chain
// seals, a Chain checks; both are the same walk. What it does not give: protection
// from someone who holds the key, and notice of a tail cut together with the head
// that names it. For the second, keep a Head where the store's owner cannot reach it.
//
// Records hold ids, names of acts and small facts. Never a secret, never the text
// of a document or of a question: that is for the caller to keep, and the limits
// of Record help.
package audit
