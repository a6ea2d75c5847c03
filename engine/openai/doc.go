// Package openai lets any server that speaks OpenAI's chat completions and
// embeddings do the engine's work: OpenAI itself, vLLM, llama.cpp, LM Studio,
// or Ollama under /v1. Package ollama is the better way to the last: this wire
// has no word for what must not be cut, and Ollama then cuts a prompt or a text
// over its window silently.
//
// New makes a Client; Client.Chatter and Client.Embedder are what the engine
// uses.
package openai
