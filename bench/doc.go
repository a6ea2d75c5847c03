// Package bench holds the workloads behind alcove's figures, as a library with
// fixed seeds: `alcove bench` runs them from the command line, tests run them
// small. A workload returns what it measured; it never judges.
//
//   - Retrieval: question sets with gold passages, through the whole engine.
//   - Ingest: documents over REST into a running server.
//   - Start: a server on an empty folder, from nothing to ready.
//   - Crash: kill -9 of a running server under load, and what is left.
//
// Question sets are folders of JSON lines: a corpus of {id, title, text} and
// questions of {id, question, gold_doc_ids}. See Set.
package bench
