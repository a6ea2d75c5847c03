// Package enginetest sets up engines for tests: a real store, in memory or in a
// folder, with tenants and knowledge bases made as they are named; models that
// follow a script (deterministic, at once, can be held or made to fail); a real
// Ollama with models made on the spot; and, when the test ends, a check of every
// knowledge base that was used. Its sub-room evaldata reads the shared data.
package enginetest
