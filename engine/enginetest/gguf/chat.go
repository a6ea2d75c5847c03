package gguf

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"unicode/utf8"
)

// chatDim is the width of the chat model. The codes of two tokens are nearly at
// right angles in it, so that the wrong token has no chance at any temperature;
// NewChat checks that they are.
const chatDim = 128

// leastMargin is by how much the logit of the right token must exceed any other.
// At temperature 1 another one is then drawn once in e^20.
const leastMargin = 20

// Script is one reply. It is given to conversations whose system prompt begins
// with System and whose last message of the user begins with User.
type Script struct {
	System, User string
	// Text is the reply, streamed about word by word. Loop repeats it for ever.
	Text string
	Loop bool
}

// Chat is a chat model: its file, and the template (in Ollama's form) that turns
// a conversation into a prompt. The model knows only the last token; it is the
// template that picks the script.
type Chat struct {
	Bytes    []byte
	Template string
}

// NewChat makes a chat model that follows the first script that fits, and
// answers with nothing when none does. It takes any UTF-8 as a prompt, a token
// a byte, up to context tokens with the reply. It fails for scripts without
// text, or so many or so long that the model could mix them up.
func NewChat(context int, scripts ...Script) (Chat, error) {
	v, follows, err := chatVocabulary(scripts)
	if err != nil {
		return Chat{}, err
	}
	m := newChatWeights(len(v.tokens), follows)
	if err := m.check(v, follows); err != nil {
		return Chat{}, err
	}
	b, err := chatFile(v, m, context).Bytes()
	return Chat{Bytes: b, Template: chatTemplate(scripts)}, err
}

const endOfText = 2

// start is the control token that a prompt ends with when script i is to follow.
func start(i int) string { return "<|script " + strconv.Itoa(i) + "|>" }

// chatVocabulary is special tokens, bytes, and the pieces of the scripts.
// follows says which token each one leads to; one that leads nowhere ends.
func chatVocabulary(scripts []Script) (*vocabulary, map[int]int, error) {
	v, follows := &vocabulary{}, map[int]int{}
	v.add("<unk>", tokenUnknown)
	v.add("<s>", tokenControl)
	v.add("</s>", tokenControl)
	for i := range 256 {
		v.add(fmt.Sprintf("<0x%02X>", i), tokenByte)
	}
	for i, s := range scripts {
		if s.Text == "" {
			return nil, nil, fmt.Errorf("gguf: script %d has no text", i)
		}
		last := v.add(start(i), tokenControl)
		first := len(v.tokens)
		for _, p := range v.pieces(s.Text) {
			id := v.add(p, tokenUser)
			follows[last] = id
			last = id
		}
		if s.Loop {
			follows[last] = first
		}
	}
	return v, follows, nil
}

// pieces cuts a text into tokens that are new to the vocabulary and differ from
// each other: words with the space behind them, joined to the next ones while a
// piece is known already.
func (v *vocabulary) pieces(text string) []string {
	var out []string
	mine := map[string]bool{}
	held := ""
	for _, w := range strings.SplitAfter(text, " ") {
		held += w
		if held == "" || v.has(held) || mine[held] || utf8.RuneCountInString(held) < 2 {
			continue // a token of one character would also be a piece of every prompt
		}
		mine[held] = true
		out = append(out, held)
		held = ""
	}
	for held != "" { // the end of the text, which was used before
		if len(out) == 0 {
			return append(out, held+"\u200b") // an invisible space tells it from the other
		}
		held = out[len(out)-1] + held
		out = out[:len(out)-1]
		if !v.has(held) && !mine[held] {
			out, held = append(out, held), ""
		}
	}
	return out
}

// chatWeights are the two matrices of the model: what a token is, and what
// makes it come next. Everything between them is idle.
type chatWeights struct{ in, out []float32 }

func newChatWeights(tokens int, follows map[int]int) chatWeights {
	m := chatWeights{make([]float32, tokens*chatDim), make([]float32, tokens*chatDim)}
	r := rand.New(rand.NewPCG(1, 2))
	for t := range tokens {
		row := m.in[t*chatDim:][:chatDim]
		row[0] = 1 // the same for all: what speaks, at half strength, for the end
		for j := 1; j < chatDim; j++ {
			row[j] = float32(2*r.IntN(2) - 1)
		}
	}
	m.out[endOfText*chatDim] = chatDim / 2
	for t, next := range follows {
		for j := 1; j < chatDim; j++ {
			m.out[next*chatDim+j] += m.in[t*chatDim+j]
		}
	}
	return m
}

// check works out what the server will: all rows have the length 1 a number, so
// the norm in front of the output changes nothing.
func (m chatWeights) check(v *vocabulary, follows map[int]int) error {
	for t, kind := range v.kinds {
		want, ok := follows[t]
		if !ok {
			want = endOfText
		}
		if kind == tokenByte || kind == tokenUnknown {
			continue // of a prompt that no script fits: whatever comes, there is no promise
		}
		right, other := m.logit(t, want), float32(0)
		for u := range v.tokens {
			if u != want {
				other = max(other, m.logit(t, u))
			}
		}
		if right-other < leastMargin {
			return fmt.Errorf("gguf: %d tokens are too many: what follows %q is not clear", len(v.tokens), v.tokens[t])
		}
	}
	return nil
}

func (m chatWeights) logit(t, u int) float32 {
	var sum float32
	a, b := m.in[t*chatDim:][:chatDim], m.out[u*chatDim:][:chatDim]
	for j := range a {
		sum += a[j] * b[j]
	}
	return sum
}

func chatFile(v *vocabulary, m chatWeights, context int) *File {
	const narrow = 32 // of one head and the layer behind it: idle, and so as cheap as can be
	n := len(v.tokens)
	scores := make([]float32, n)
	for i := range scores {
		scores[i] = -float32(i)
	}
	f := &File{}
	f.Set("general.architecture", "llama")
	f.Set("general.name", "scripted")
	f.Set("general.file_type", uint32(0))
	f.Set("llama.context_length", uint32(context))
	f.Set("llama.embedding_length", uint32(chatDim))
	f.Set("llama.block_count", uint32(1))
	f.Set("llama.feed_forward_length", uint32(narrow))
	f.Set("llama.attention.head_count", uint32(1))
	f.Set("llama.attention.head_count_kv", uint32(1))
	f.Set("llama.attention.key_length", uint32(narrow))
	f.Set("llama.attention.value_length", uint32(narrow))
	f.Set("llama.attention.layer_norm_rms_epsilon", float32(1e-5))
	f.Set("llama.rope.dimension_count", uint32(narrow))
	f.Set("llama.vocab_size", uint32(n))
	f.Set("tokenizer.ggml.model", "llama")
	f.Set("tokenizer.ggml.tokens", v.tokens)
	f.Set("tokenizer.ggml.scores", scores)
	f.Set("tokenizer.ggml.token_type", v.kinds)
	f.Set("tokenizer.ggml.unknown_token_id", uint32(0))
	f.Set("tokenizer.ggml.bos_token_id", uint32(1))
	f.Set("tokenizer.ggml.eos_token_id", uint32(endOfText))
	f.Set("tokenizer.ggml.add_bos_token", true)
	f.Set("tokenizer.ggml.add_space_prefix", false)
	f.Add("token_embd.weight", m.in, chatDim, n)
	f.Add("output_norm.weight", ones(chatDim), chatDim)
	f.Add("output.weight", m.out, chatDim, n)
	f.Add("blk.0.attn_norm.weight", ones(chatDim), chatDim)
	f.Add("blk.0.ffn_norm.weight", ones(chatDim), chatDim)
	for _, name := range []string{"attn_q", "attn_k", "attn_v", "ffn_gate", "ffn_up"} {
		f.Add("blk.0."+name+".weight", make([]float32, chatDim*narrow), chatDim, narrow)
	}
	for _, name := range []string{"attn_output", "ffn_down"} {
		f.Add("blk.0."+name+".weight", make([]float32, narrow*chatDim), narrow, chatDim)
	}
	return f
}

// chatTemplate writes out the conversation and picks the script. Ollama's
// templates are Go's, where printf cuts a text to so many runes.
func chatTemplate(scripts []Script) string {
	var b strings.Builder
	b.WriteString("{{ $user := \"\" }}{{ range .Messages }}{{ .Role }}: {{ .Content }}\n" +
		"{{ if eq .Role \"user\" }}{{ $user = .Content }}{{ end }}{{ end }}")
	for i, s := range scripts {
		if i > 0 {
			b.WriteString("{{ else }}")
		}
		fmt.Fprintf(&b, "{{ if and (eq (printf \"%%.%ds\" .System) %q) (eq (printf \"%%.%ds\" $user) %q) }}%s",
			utf8.RuneCountInString(s.System), s.System, utf8.RuneCountInString(s.User), s.User, start(i))
	}
	b.WriteString(strings.Repeat("{{ end }}", len(scripts)))
	return b.String()
}
