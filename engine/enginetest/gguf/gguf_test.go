package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"
)

// read is a reader by the format's description, as an oracle for the writer.
type read struct {
	meta    map[string]any
	tensors map[string]readTensor
}

type readTensor struct {
	dims   []int
	values []float32
}

func parse(t *testing.T, b []byte) read {
	t.Helper()
	le, at := binary.LittleEndian, 0
	take := func(n int) []byte { at += n; return b[at-n : at] }
	u32 := func() uint32 { return le.Uint32(take(4)) }
	u64 := func() int { return int(le.Uint64(take(8))) }
	str := func() string { return string(take(u64())) }
	f32 := func() float32 { return math.Float32frombits(u32()) }
	var value func(kind uint32) any
	value = func(kind uint32) any {
		switch kind {
		case 4:
			return u32()
		case 5:
			return int32(u32())
		case 6:
			return f32()
		case 7:
			return take(1)[0] == 1
		case 8:
			return str()
		case 9:
			inner := u32()
			list := make([]any, u64())
			for i := range list {
				list[i] = value(inner)
			}
			return list
		}
		t.Fatalf("value type %d", kind)
		return nil
	}
	require.Equal(t, "GGUF", string(take(4)))
	require.EqualValues(t, 3, u32())
	tensors, entries := u64(), u64()
	r := read{map[string]any{}, map[string]readTensor{}}
	for range entries {
		k := str()
		require.NotContains(t, r.meta, k)
		r.meta[k] = value(u32())
	}
	type info struct {
		name   string
		dims   []int
		offset int
	}
	var infos []info
	for range tensors {
		i := info{name: str()}
		for range u32() {
			i.dims = append(i.dims, u64())
		}
		require.Zero(t, u32(), "float32")
		i.offset = u64()
		infos = append(infos, i)
	}
	start := (at + 31) / 32 * 32
	end := at
	for _, i := range infos {
		require.Zero(t, i.offset%32)
		require.Less(t, start+i.offset-end, 32, "%s: a gap", i.name)
		at = start + i.offset
		n := 1
		for _, d := range i.dims {
			n *= d
		}
		x := readTensor{dims: i.dims}
		for range n {
			x.values = append(x.values, f32())
		}
		require.NotContains(t, r.tensors, i.name)
		r.tensors[i.name] = x
		end = at
	}
	require.Equal(t, len(b), end, "nothing behind the last tensor")
	return r
}

// What is written is what a reader of the format finds.
func TestFile(t *testing.T) {
	var f File
	f.Set("s", "é")
	f.Set("yes", true)
	f.Set("no", false)
	f.Set("n", uint32(7))
	f.Set("x", float32(0.5))
	f.Set("list", []string{"a", ""})
	f.Set("ints", []int32{-1, 2})
	f.Set("floats", []float32{1, 2})
	f.Add("odd", []float32{1, 2, 3}, 3)
	f.Add("square", []float32{4, 5, 6, 7}, 2, 2)
	b, err := f.Bytes()
	require.NoError(t, err)
	r := parse(t, b)
	require.Equal(t, map[string]any{
		"s": "é", "yes": true, "no": false, "n": uint32(7), "x": float32(0.5),
		"list": []any{"a", ""}, "ints": []any{int32(-1), int32(2)}, "floats": []any{float32(1), float32(2)},
	}, r.meta)
	require.Equal(t, map[string]readTensor{
		"odd": {[]int{3}, []float32{1, 2, 3}}, "square": {[]int{2, 2}, []float32{4, 5, 6, 7}},
	}, r.tensors)

	b, err = (&File{}).Bytes()
	require.NoError(t, err)
	require.Len(t, b, 24)
}

// All that cannot be written is named.
func TestFile_Faults(t *testing.T) {
	var f File
	f.Set("key", 7)
	f.Add("matrix", []float32{1, 2, 3}, 2, 2)
	_, err := f.Bytes()
	require.ErrorContains(t, err, "key: int")
	require.ErrorContains(t, err, "matrix: 3 values for [2 2]")
}

// say runs the chat model as a server would: a token's row against the output.
func (r read) say(start string, limit int) string {
	var tokens []string
	for _, x := range r.meta["tokenizer.ggml.tokens"].([]any) {
		tokens = append(tokens, x.(string))
	}
	in, out := r.tensors["token_embd.weight"].values, r.tensors["output.weight"].values
	dim := len(in) / len(tokens)
	var b strings.Builder
	at := slices.Index(tokens, start)
	for range limit {
		best, most := 0, math.Inf(-1)
		for u := range tokens {
			var sum float64
			for j := range dim {
				sum += float64(in[at*dim+j]) * float64(out[u*dim+j])
			}
			if sum > most {
				best, most = u, sum
			}
		}
		if tokens[best] == "</s>" {
			break
		}
		b.WriteString(tokens[best])
		at = best
	}
	return b.String()
}

// A model says what its scripts say, whatever occurs twice in them, and the
// template picks the script by how the conversation begins.
func TestChat(t *testing.T) {
	scripts := []Script{
		{System: "You read", Text: `{"name":"a a a a","kind":"a a"}`},
		{System: "You \"answer\"", User: "for ever", Text: "on and on ", Loop: true},
		{System: "You \"answer\"", Text: "No more, no less: no more, no less. One two one two é\n\nthe end the end"},
		{Text: "a a"},
		{User: "never", Text: "not reached"},
	}
	c, err := NewChat(4096, scripts...)
	require.NoError(t, err)
	again, err := NewChat(4096, scripts...)
	require.NoError(t, err)
	require.Equal(t, c, again, "a function of the scripts")
	r := parse(t, c.Bytes)
	require.EqualValues(t, 4096, r.meta["llama.context_length"])
	tokens := r.meta["tokenizer.ggml.tokens"].([]any)
	seen := map[any]bool{}
	for _, x := range tokens {
		require.False(t, seen[x], "%q twice", x)
		seen[x] = true
	}
	require.Less(t, len(c.Bytes), 1<<20)

	tmpl := template.Must(template.New("").Parse(c.Template))
	pick := func(system, user string) string {
		var b strings.Builder
		require.NoError(t, tmpl.Execute(&b, map[string]any{
			"System": system, "Messages": []map[string]string{
				{"Role": "system", "Content": system}, {"Role": "user", "Content": "never"}, {"Role": "assistant", "Content": "x"}, {"Role": "user", "Content": user},
			},
		}))
		require.Contains(t, b.String(), "user: "+user+"\n")
		i := strings.LastIndex(b.String(), "<|")
		require.Positive(t, i)
		return b.String()[i:]
	}
	for i, c := range []struct{ system, user, want string }{
		{"You read passages", "x", scripts[0].Text},
		{"You \"answer\" this", "for ever and a day", strings.Repeat("on and on ", 7) + "on "},
		{"You \"answer\"", "for", scripts[2].Text},
		{"", "", scripts[3].Text},
		{"Yoü", "never", scripts[3].Text},
	} {
		got := strings.TrimRight(r.say(pick(c.system, c.user), 15), "\u200b")
		require.Equal(t, c.want, got, "%d", i)
	}
	require.Empty(t, r.say("<0x41>", 5), "no script, no answer")
}

func TestChat_Faults(t *testing.T) {
	_, err := NewChat(100, Script{})
	require.ErrorContains(t, err, "script 0 has no text")
	var long strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&long, "w%d ", i)
	}
	_, err = NewChat(100, Script{Text: long.String()})
	require.ErrorContains(t, err, "too many")
}

// The words keep their vectors and come before what stands in for unknown ones.
func TestEmbedder(t *testing.T) {
	words := []string{"cat", "kitten", "a"}
	vectors := [][]float32{Code("cat", 8), Code("kitten", 8), Code("first letter", 8)}
	b, err := NewEmbedder(64, words, vectors)
	require.NoError(t, err)
	r := parse(t, b)
	tokens := r.meta["tokenizer.ggml.tokens"].([]any)
	rows := r.tensors["token_embd.weight"]
	require.Equal(t, []int{8, len(tokens)}, rows.dims)
	for i, w := range words {
		at := slices.Index(tokens, any("\u2581"+w))
		require.Equal(t, vectors[i], rows.values[at*8:][:8], w)
	}
	require.Len(t, tokens, 4+len(words)+2*36-1, "a is a word already")
	require.Equal(t, make([]float32, 8), rows.values[2*8:][:8], "the token before a text is silent")
	require.Equal(t, []int{8, 64}, r.tensors["position_embd.weight"].dims)
	require.NotEqual(t, Code("cat", 8), Code("mat", 8))
}

func TestEmbedder_Faults(t *testing.T) {
	v := func(n int) []float32 { return make([]float32, n) }
	for want, c := range map[string]struct {
		words   []string
		vectors [][]float32
	}{
		"0 vectors for 0":    {nil, nil},
		"1 vectors for 2":    {[]string{"a", "b"}, [][]float32{v(4)}},
		"a multiple of 4":    {[]string{"a"}, [][]float32{v(6)}},
		"8 numbers instead":  {[]string{"a", "b"}, [][]float32{v(4), v(8)}},
		"\"A\" is no word":   {[]string{"A"}, [][]float32{v(4)}},
		"or comes twice":     {[]string{"a", "a"}, [][]float32{v(4), v(4)}},
		"is out of range":    {[]string{"a"}, [][]float32{{1, 2, 11, 0}}},
		"number of a vector": {[]string{"a"}, [][]float32{{1, 2, float32(math.NaN()), 0}}},
	} {
		_, err := NewEmbedder(64, c.words, c.vectors)
		require.ErrorContains(t, err, want)
	}
}
