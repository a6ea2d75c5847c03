package gguf

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strings"
)

// evenNorm is the epsilon and the square of the scale of the model's norms. It is
// far above the variance of any row, so that they take a row's mean away and do
// nothing else, and a long row keeps its weight in a text.
const evenNorm = 1e6

// wordStart is how a vocabulary marks a token that begins a word.
const wordStart = "\u2581"

// NewEmbedder makes the file of an embedding model for words in lower case with
// their vectors. The vector of a text is the direction of the sum of its words'
// vectors, each less its mean; a word that is not known counts as its letters
// and digits, anything else next to nothing. The model reads texts of up to
// context tokens, two of which it adds itself.
func NewEmbedder(context int, words []string, vectors [][]float32) ([]byte, error) {
	if len(words) == 0 || len(words) != len(vectors) {
		return nil, fmt.Errorf("gguf: %d vectors for %d words", len(vectors), len(words))
	}
	dim := len(vectors[0])
	const heads = 4
	if dim == 0 || dim%heads != 0 {
		return nil, fmt.Errorf("gguf: vectors of %d numbers; a multiple of %d is needed", dim, heads)
	}
	v := &vocabulary{}
	var rows []float32
	add := func(token string, kind int32, row []float32) {
		v.add(token, kind)
		rows = append(rows, row...)
	}
	// The tokens around every text have no vector, so they move none.
	silent := make([]float32, dim)
	add("[PAD]", tokenControl, silent)
	faint := Code("[UNK]", dim)
	for i := range faint {
		faint[i] /= 100
	}
	add("[UNK]", tokenUnknown, faint)
	add("[CLS]", tokenControl, silent)
	add("[SEP]", tokenControl, silent)
	for i, w := range words {
		switch {
		case len(vectors[i]) != dim:
			return nil, fmt.Errorf("gguf: the vector of %q has %d numbers instead of %d", w, len(vectors[i]), dim)
		case w == "" || w != strings.ToLower(w) || v.has(wordStart+w):
			return nil, fmt.Errorf("gguf: %q is no word in lower case, or comes twice", w)
		}
		add(wordStart+w, tokenNormal, vectors[i])
	}
	for _, c := range "abcdefghijklmnopqrstuvwxyz0123456789" {
		for _, token := range []string{wordStart + string(c), string(c)} {
			if !v.has(token) {
				add(token, tokenNormal, Code(string(c), dim))
			}
		}
	}
	for _, x := range rows {
		if x*x > evenNorm/1e4 || x != x {
			return nil, errors.New("gguf: a number of a vector is out of range")
		}
	}
	return embedderFile(v, rows, dim, heads, context).Bytes()
}

// Code is a vector for a word: the same each time, and nearly at right angles to
// those of other words.
func Code(word string, dim int) []float32 {
	h := fnv.New64a()
	h.Write([]byte(word))
	r := rand.New(rand.NewPCG(h.Sum64(), 3))
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func embedderFile(v *vocabulary, rows []float32, dim, heads, context int) *File {
	n := len(v.tokens)
	scale := ones(dim)
	for i := range scale {
		scale[i] = float32(math.Sqrt(evenNorm))
	}
	f := &File{}
	f.Set("general.architecture", "bert")
	f.Set("general.name", "words")
	f.Set("general.file_type", uint32(0))
	f.Set("bert.context_length", uint32(context))
	f.Set("bert.embedding_length", uint32(dim))
	f.Set("bert.block_count", uint32(1))
	f.Set("bert.feed_forward_length", uint32(dim))
	f.Set("bert.attention.head_count", uint32(heads))
	f.Set("bert.attention.head_count_kv", uint32(heads))
	f.Set("bert.attention.layer_norm_epsilon", float32(evenNorm))
	f.Set("bert.attention.causal", false)
	f.Set("bert.pooling_type", uint32(1)) // the mean
	f.Set("tokenizer.ggml.model", "bert")
	f.Set("tokenizer.ggml.token_type_count", uint32(2))
	f.Set("tokenizer.ggml.tokens", v.tokens)
	f.Set("tokenizer.ggml.scores", make([]float32, n))
	f.Set("tokenizer.ggml.token_type", v.kinds)
	f.Set("tokenizer.ggml.padding_token_id", uint32(0))
	f.Set("tokenizer.ggml.unknown_token_id", uint32(1))
	f.Set("tokenizer.ggml.bos_token_id", uint32(2))
	f.Set("tokenizer.ggml.cls_token_id", uint32(2))
	f.Set("tokenizer.ggml.eos_token_id", uint32(3))
	f.Set("tokenizer.ggml.seperator_token_id", uint32(3)) // as the format spells it
	f.Add("token_embd.weight", rows, dim, n)
	f.Add("token_types.weight", make([]float32, 2*dim), dim, 2)
	f.Add("position_embd.weight", make([]float32, context*dim), dim, context)
	f.Add("token_embd_norm.weight", scale, dim)
	f.Add("token_embd_norm.bias", make([]float32, dim), dim)
	for _, name := range []string{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"} {
		f.Add("blk.0."+name+".weight", make([]float32, dim*dim), dim, dim)
		f.Add("blk.0."+name+".bias", make([]float32, dim), dim)
	}
	for _, name := range []string{"attn_output_norm", "layer_output_norm"} {
		f.Add("blk.0."+name+".weight", scale, dim)
		f.Add("blk.0."+name+".bias", make([]float32, dim), dim)
	}
	return f
}
