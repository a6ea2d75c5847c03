// Package openai lets any server that speaks OpenAI's chat completions and
// embeddings do the engine's work: OpenAI itself, vLLM, llama.cpp, LM Studio,
// or Ollama under /v1.
//
// New makes a Client; Client.Chatter and Client.Embedder are what the engine
// uses.
package openai
