package builtin_test

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/builtin"
	"alcove/engine/enginetest/evaldata"
)

// Vectors alone find the passages of real questions at least this well. The
// floors are below what was measured (see README.md), so that they catch a
// fault and not a change of one question.
func TestEmbedder_RetrievesRealPassages(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	for _, set := range []struct {
		docs, questions string
		floor           float64
	}{
		{"qa/2wiki/corpus6119.jsonl", "qa/2wiki/questions.jsonl", 0.45},
		{"qa/musique100/corpus.jsonl", "qa/musique100/questions.jsonl", 0.30},
	} {
		t.Run(set.docs, func(t *testing.T) {
			got := recall5(t, evaldata.Rows[passage](t, set.docs), evaldata.Rows[question](t, set.questions))
			t.Logf("recall@5 %.3f", got)
			require.GreaterOrEqual(t, got, set.floor)
		})
	}
}

// The extractor finds the names that are titles of other passages, without
// making up more entities than there are names.
func TestExtractor_RealPassages(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	docs := evaldata.Rows[passage](t, "qa/2wiki/corpus6119.jsonl")
	plain := func(s string) string {
		if i := strings.IndexByte(s, '('); i > 0 {
			s = s[:i]
		}
		s = strings.Join(strings.FieldsFunc(strings.ToLower(s), func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsNumber(c) }), " ")
		for _, article := range []string{"the ", "a ", "an "} {
			s = strings.TrimPrefix(s, article)
		}
		return s
	}
	titles := map[string]bool{}
	for _, d := range docs {
		if k := plain(d.Title); strings.Contains(k, " ") {
			titles[k] = true
		}
	}
	x := builtin.Extractor(builtin.Options{})
	entities, relations := map[string]bool{}, map[[2]string]bool{}
	var titled, found, named int
	types := map[string]int{}
	for _, d := range docs {
		e, err := x.Extract(context.Background(), engine.Passage{Title: d.Title, Text: d.Text})
		require.NoError(t, err)
		have := map[string]bool{}
		for _, m := range e.Entities {
			entities[engine.EntityID(m.Name)] = true
			have[plain(m.Name)] = true
			types[m.Type]++
		}
		for _, r := range e.Relations {
			a, b := engine.EntityID(r.Source), engine.EntityID(r.Target)
			relations[[2]string{min(a, b), max(a, b)}] = true
		}
		if have[plain(d.Title)] {
			titled++
		}
		words := strings.Fields(plain(strings.ReplaceAll(d.Text, "(", " ")))
		seen := map[string]bool{plain(d.Title): true}
		for i := range words {
			for n := 2; n <= 6 && i+n <= len(words); n++ {
				k := strings.Join(words[i:i+n], " ")
				if !titles[k] || seen[k] {
					continue
				}
				seen[k] = true
				named++
				if have[k] {
					found++
				}
			}
		}
	}
	t.Logf("%d entities, %d pairs; own title %.3f, titles of others %.3f; %v", len(entities), len(relations),
		float64(titled)/float64(len(docs)), float64(found)/float64(named), types)
	require.InDelta(t, 41_000, len(entities), 5000)
	require.InDelta(t, 115_000, len(relations), 35_000)
	require.Greater(t, float64(titled)/float64(len(docs)), 0.96)
	require.Greater(t, float64(found)/float64(named), 0.6)
}

// Quotes hold what was asked: the known answer stands in the few sentences taken
// from a question's own candidates, in the order of the vectors.
func TestAnswerer_RealQuestions(t *testing.T) {
	docs := map[string]passage{}
	for _, d := range evaldata.Rows[passage](t, "qa/musique100/corpus.jsonl") {
		docs[d.ID] = d
	}
	questions := evaldata.Rows[question](t, "qa/musique100/questions.jsonl")
	held, possible := 0, 0
	for _, q := range questions {
		var texts []string
		for _, id := range q.Candidates {
			texts = append(texts, docs[id].Title+"\n"+docs[id].Text)
		}
		v, err := builtin.Embedder().Embed(context.Background(), append(texts, q.Question))
		require.NoError(t, err)
		order := slices.Clone(q.Candidates)
		score := map[string]float32{}
		for i, id := range order {
			score[id] = dot(v[i], v[len(v)-1])
		}
		slices.SortStableFunc(order, func(a, b string) int { return cmp.Compare(score[b], score[a]) })
		r := engine.AnswerRequest{Query: q.Question, ResponseType: "Multiple Paragraphs"}
		var all strings.Builder
		for i, id := range order[:8] {
			r.Chunks = append(r.Chunks, engine.EvidenceChunk{ReferenceID: strconv.Itoa(i + 1), Title: docs[id].Title, Text: docs[id].Text})
			all.WriteString(docs[id].Text + "\n")
		}
		a, err := builtin.Answerer().Answer(context.Background(), r, nil)
		require.NoError(t, err)
		holds := func(text string) bool {
			return slices.ContainsFunc(append(q.Aliases, q.Answer), func(s string) bool {
				return strings.Contains(strings.ToLower(text), strings.ToLower(s))
			})
		}
		if holds(all.String()) {
			possible++
			if holds(a.Text) {
				held++
			}
		}
	}
	t.Logf("answer quoted in %d of %d whose evidence has it", held, possible)
	require.Greater(t, float64(held)/float64(possible), 0.5)
}

func recall5(t *testing.T, docs []passage, questions []question) float64 {
	texts := make([]string, len(docs))
	for i, d := range docs {
		texts[i] = d.Title + "\n" + d.Text
	}
	vectors, err := builtin.Embedder().Embed(context.Background(), texts)
	require.NoError(t, err)
	var sum float64
	for _, q := range questions {
		qv, err := builtin.Embedder().Embed(context.Background(), []string{q.Question})
		require.NoError(t, err)
		order := make([]int, len(docs))
		score := make([]float32, len(docs))
		for i, v := range vectors {
			order[i], score[i] = i, dot(v, qv[0])
		}
		slices.SortFunc(order, func(a, b int) int {
			if score[a] != score[b] {
				if score[a] > score[b] {
					return -1
				}
				return 1
			}
			return a - b
		})
		found := 0
		for _, i := range order[:5] {
			if slices.Contains(q.Gold, docs[i].ID) {
				found++
			}
		}
		sum += float64(found) / float64(len(q.Gold))
	}
	return sum / float64(len(questions))
}

func dot(a, b []float32) float32 {
	var s float32
	for i, x := range a {
		s += x * b[i]
	}
	return s
}
