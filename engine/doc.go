// Package engine is LightRAG over a multi-tenant store: documents in, answers
// out, and which knowledge bases are in memory meanwhile.
//
// An Engine takes a tenancy.Space, which somebody was allowed to enter, and hands
// out a Reader or a KB; everything a caller can do is a method of these two. What
// the outside must bring comes by Options: small interfaces (model.go: Chatter,
// Embedder, Extractor, Answerer, Reranker) and a Parser. The engine's sub-rooms
// implement them; the engine imports none of them.
//
// # In
//
// KB.Add and KB.Update check a call (input.go), decide what each document is
// (accept.go, update.go), keep its bytes (spool.go, original.go) and commit document and job
// at once. A worker (job.go, work*.go) parses, cuts (chunk*.go), embeds and
// extracts, and shows the new version in one commit. KB.Delete (delete.go) takes
// a version out of sight in one commit. The records are in records.go: documents,
// chunks, vectors and contributions are ground state, everything else is derived.
// A model's answer that was paid for is kept in answers.go. Model calls wait in
// schedule.go, fairly between tenants and a question before a document; settings.go puts what a knowledge
// base sets over what its tenant and the server do; embedding.go takes texts
// through the Embedder (gather.go: those of several documents at once), remote.go is what the adapters of servers share. A model
// extracts by extract.go, under the prompts of prompts.go and the settings of the
// knowledge base; what it wrote is read by reply*.go. A chunk that it cannot read
// costs its document that chunk (StatusPartial), which KB.Retry reads again.
// reembed.go takes a knowledge base to another embedding model.
//
// # Out
//
// Reader.read (load.go) pins a knowledge base in the pool (pool.go; what leaves it,
// and when, is in pool_evict.go; a load reads a snapshot of the copy, snapshot*.go, or the
// records), brings the
// copy in memory (resident.go) up to the generation of a fresh snapshot, and
// hands both to a search, so that what is found in one is there in the other.
// Reader.Query (ask.go) looks whether it remembers the answer (answercache.go),
// makes a question of a conversation stand alone (history.go), makes keywords and
// vectors, searches (retrieve.go, whose channels are the walk in recall.go and
// walk.go, BM25, vectors (nearest.go, beside the rest), entities and relations), folds contributions into
// profiles (profile.go, what was read stays in sayings.go) and takes the chunks behind those that fit (pick.go), lets
// a Reranker order the chunks (rerank*.go), cuts to the token budgets and numbers
// the references (evidence.go), and lets an Answerer write, whose citations of
// anything else are dropped (citations.go) and whose Markdown fetches nothing
// (clean.go). explain.go tells of each item how it came there.
// graphview.go shows the graph; what people say of it themselves is in edit.go,
// alias.go (merges and renames) and customkg.go, its records in edit_records.go and
// its part in the copy in edit_resident.go; suggest.go finds names that may be one. Profiles get vectors of their own where the
// embedder is a model (profiles.go), and long descriptions a summary where there
// is a language model (summary*.go).
//
// Every search and every look at the graph sees a view (filter_view.go): all of the
// copy, or what the documents say that a Filter permits (filter.go, filter_parse.go),
// as if the others were not there. What is not asked of the view leaks.
//
// # Text
//
// words*.go, names.go, stem.go and analysis.go take a text apart for retrieval:
// sentences, terms, names. tokens.go counts what a language model counts.
// question.go and keywords.go read a question the same way.
//
// # Proof
//
// Dump writes the ground state in a canonical form: two knowledge bases with one
// dump answer alike. Check verifies every invariant. Both back the tests that
// insert, update and delete in random orders.
package engine
