// Package builtin is what alcove does without a model server: an embedding, an
// extractor by rules and an extractive answerer, behind engine's interfaces. It
// reads no file, opens no connection and needs no set-up; its one table is in
// the binary.
//
//	Embedder()   hashed words and character n-grams beside a mean of word vectors (embed.go)
//	Extractor(o) names, terms and what stands together in a sentence (extract.go, names.go,
//	             terms.go, kinds.go, relate.go; word lists in lists.go)
//	Answerer()   quotes the sentences that hold what is asked (answer.go, choose.go)
//
// All three are functions of their input: the same text gives the same result on
// every machine, for ever under one name (EmbeddingModel, Identity). They never
// pretend to be a language model: an answer is quoted, and marked "none".
//
// words.bin is made by the program in gen from a package that is not part of
// alcove; wordtable reads it. README.md says what is in it and what was measured.
package builtin
