// Package ollama lets an Ollama server chat and embed. Written against the API
// of v0.17; nothing is ever cut silently: num_ctx is set on every call, and
// truncate and shift are switched off.
//
// New makes a Client; Client.Chatter and Client.Embedder are what the engine
// uses.
package ollama
