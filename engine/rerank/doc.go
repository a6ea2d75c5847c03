// Package rerank lets a reranker behind HTTP score passages for a question. It
// implements engine.Reranker, knows HTTP, and nothing of documents.
//
// The servers that are spoken to differ in the path and in the names of a few
// fields (Shape); an answer is read in any of their forms, so a server that
// mixes them is understood too.
//
// Start in rerank.go.
package rerank
