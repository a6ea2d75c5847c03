// Package bench holds the workloads behind alcove's figures, as a library with
// fixed seeds: `alcove bench` runs them from the command line, tests run them
// small. A workload returns what it measured; it never judges.
//
//   - Retrieval: question sets with gold passages, through the whole engine.
//   - Ingest: documents over REST into a running server.
//   - Cost: what a document costs a server beside the language model, in bases of
//     several sizes, and how often the model is asked.
//   - Query: what a question takes and what it costs beside the models, by mode, size of
//     the base and number of clients.
//   - Peers: the same documents and questions to alcove and to another server, see Peer.
//   - Delete: what is asked of models when documents go or a paragraph changes, and
//     whether what is left is exact.
//   - Start: a server on an empty folder, from nothing to ready.
//   - Crash: kill -9 of a running server under load, and what is left.
//
// What a workload printed is a Measurement; WriteReport makes a page of several, and
// Figures the tables of a README.
//
// Question sets are folders of JSON lines: a corpus of {id, title, text} and
// questions of {id, question, gold_doc_ids}, see Set; Triples replays what a model
// once extracted from their passages. Workloads that need a model have a scripted
// one, see Model, and documents made up for it, see Corpus.
package bench
