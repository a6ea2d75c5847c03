package engine_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/engine/builtin"
	"alcove/engine/enginetest"
	"alcove/engine/enginetest/evaldata"
)

var allModes = []engine.Mode{engine.ModeNaive, engine.ModeLocal, engine.ModeGlobal, engine.ModeHybrid, engine.ModeMix, engine.ModePPR}

// markedDoc is a document that says of shared names what no other says: its mark
// stands in everything that it gives to the base, and it spells names as no other.
type markedDoc struct {
	engine.DocumentInput
	created time.Time
	canary  []string
}

var sharedNames = []string{"ada lovelace", "charles babbage", "london", "analytical engine", "turin", "menabrea"}

// spell writes the letters of a name large where n has a bit.
func spell(name string, n int) string {
	out := []rune(name)
	for i, bit := 0, 0; i < len(out); i++ {
		if unicode.IsLetter(out[i]) {
			if n>>bit&1 == 1 {
				out[i] = unicode.ToUpper(out[i])
			}
			bit++
		}
	}
	return string(out)
}

func newMarkedDoc(r *rand.Rand, i int) markedDoc {
	mark := fmt.Sprintf("Kanari%02dx", i)
	d := markedDoc{canary: []string{mark, strings.ToLower(mark), fmt.Sprintf("doc-%02d", i)}}
	for _, n := range sharedNames {
		d.canary = append(d.canary, spell(n, i+1))
	}
	name := func() string {
		if r.IntN(6) == 0 {
			return "Secret " + mark
		}
		return spell(sharedNames[r.IntN(len(sharedNames))], i+1)
	}
	pick := func(l ...string) string { return l[r.IntN(len(l))] }
	var b strings.Builder
	for range 1 + r.IntN(5) {
		fmt.Fprintf(&b, "%s wrote to %s about %s and the engine.\n", name(), name(), pick(mark, "letters", "travel", "the film", "numbers"))
	}
	for range r.IntN(7) {
		fmt.Fprintf(&b, "entity|%s|%s|%s keeps %s\n", name(), pick("person", "place", mark), pick("She", "It"), pick(mark, "notes", "notes", "engines"))
	}
	for range r.IntN(7) {
		fmt.Fprintf(&b, "relation|%s|%s|%s|%s|%s\n", name(), name(), pick("letters", "letters, travel", mark, ""),
			pick("They wrote.", "They met "+mark, "They spoke of engines.", ""), pick("1", "2.5", "7", "0.0000001"))
	}
	d.ID, d.FilePath, d.Content = fmt.Sprintf("doc-%02d", i), fmt.Sprintf("dir%d/%s.txt", i%3, mark), []byte(b.String())
	d.Metadata = map[string]any{}
	for _, x := range []struct {
		key   string
		value any
	}{
		{"title", pick(mark, "Letters of "+spell("london", i+1))}, {"year", float64(2020 + r.IntN(5))}, {"lang", pick("de", "en")},
		{"tags", []any{pick("law", "tax", "art"), pick("old", "new")}}, {"day", fmt.Sprintf("2026-01-%02d", 1+r.IntN(28))},
		{"ok", r.IntN(2) == 0}, {"a", map[string]any{"b": float64(r.IntN(3))}},
	} {
		if r.IntN(4) > 0 {
			d.Metadata[x.key] = x.value
		}
	}
	return d
}

// randomFilter makes a filter of any form as its JSON.
func randomFilter(r *rand.Rand, docs []markedDoc, depth int) map[string]any {
	id := func() any { return docs[r.IntN(len(docs))].ID }
	when := func() any {
		t := docs[r.IntN(len(docs))].created
		if r.IntN(4) == 0 {
			return t.AddDate(0, 0, r.IntN(3)-1).Format(time.DateOnly)
		}
		return t.Format(time.RFC3339Nano)
	}
	some := func(l ...any) any { return l[r.IntN(len(l))] }
	list := func(f func() any) (out []any) {
		for range 1 + r.IntN(4) {
			out = append(out, f())
		}
		return out
	}
	value := func() any { return some("law", "tax", "old", "de", "en", 2021.0, 2023.0, 1.0, true, false) }
	var condition func(int) any
	condition = func(depth int) any {
		switch r.IntN(9) {
		case 0:
			return value()
		case 1:
			return list(value)
		case 2:
			return map[string]any{"all": list(func() any { return some("law", "old", "new", "tax") })}
		case 3:
			return map[string]any{"exists": r.IntN(2) == 0}
		case 4:
			return map[string]any{some("gt", "gte").(string): float64(2019 + r.IntN(4)), some("lt", "lte").(string): float64(2022 + r.IntN(4))}
		case 5:
			return map[string]any{some("gt", "gte", "lt", "lte").(string): fmt.Sprintf("2026-01-%02d", 1+r.IntN(28))}
		case 6:
			return map[string]any{"eq": value(), "not": value()}
		case 7:
			return map[string]any{"any": list(value)}
		}
		if depth > 2 {
			return value()
		}
		return map[string]any{"not": condition(depth + 1)}
	}
	f := map[string]any{}
	for range 1 + r.IntN(2) {
		switch k := r.IntN(9); {
		case k == 0:
			f["doc_ids"] = list(id)
		case k == 1:
			f["file_paths"] = list(func() any { return some("dir0/*", "*Kanari0*", "*1x.txt", "dir2/Kanari*5*", "nowhere") })
		case k == 2:
			f["tags"] = condition(0)
		case k == 3:
			f[some("created_from", "created_to").(string)] = when()
		case k == 4 && depth < 3:
			f[some("any", "all").(string)] = list(func() any { return randomFilter(r, docs, depth+1) })
		case k == 5 && depth < 3:
			f["not"] = randomFilter(r, docs, depth+1)
		default:
			f["metadata"] = map[string]any{some("year", "lang", "day", "ok", "a.b", "none", "tags").(string): condition(0)}
		}
	}
	return f
}

// permits is what a filter means, said a second time and plainly.
func permits(f map[string]any, d markedDoc) bool {
	cut := func(t time.Time) time.Time { return t.Truncate(time.Microsecond) }
	date := func(s string) (from, last time.Time, ok bool) {
		if t, err := time.Parse(time.DateOnly, s); err == nil {
			return t, t.Add(24*time.Hour - time.Microsecond), true
		}
		t, err := time.Parse(time.RFC3339, s)
		return cut(t), cut(t), err == nil
	}
	some := func(l []any, yes func(any) bool) bool { return slices.ContainsFunc(l, yes) }
	items := func(v any) []any {
		if l, ok := v.([]any); ok {
			return l
		}
		return []any{v}
	}
	equal := func(v, x any) bool {
		return v != nil && some(items(v), func(i any) bool {
			_, object := i.(map[string]any)
			return !object && i == x
		})
	}
	var holds func(c, v any) bool
	holds = func(c, v any) bool {
		o, ok := c.(map[string]any)
		if !ok {
			return some(items(c), func(x any) bool { return equal(v, x) })
		}
		inRange := func(i any) bool {
			for op, end := range o {
				var x, low, last float64
				switch e := end.(type) {
				case float64:
					n, number := i.(float64)
					if op[0] != 'g' && op[0] != 'l' {
						continue
					}
					if !number {
						return false
					}
					x, low, last = n, e, e
				case string:
					if op[0] != 'g' && op[0] != 'l' {
						continue
					}
					s, text := i.(string)
					a, b, _ := date(e)
					at, _, valid := date(s)
					if !text || !valid {
						return false
					}
					x, low, last = float64(at.UnixMicro()), float64(a.UnixMicro()), float64(b.UnixMicro())
				default:
					continue
				}
				if op == "gt" && x <= last || op == "gte" && x < low || op == "lt" && x >= low || op == "lte" && x > last {
					return false
				}
			}
			return true
		}
		for op, x := range o {
			yes := true
			switch op {
			case "eq":
				yes = equal(v, x)
			case "any":
				yes = some(x.([]any), func(x any) bool { return equal(v, x) })
			case "all":
				yes = !some(x.([]any), func(x any) bool { return !equal(v, x) })
			case "exists":
				yes = (v != nil) == x.(bool)
			case "not":
				yes = !holds(x, v)
			default:
				yes = v != nil && some(items(v), inRange)
			}
			if !yes {
				return false
			}
		}
		return true
	}
	for key, x := range f {
		yes := true
		switch key {
		case "doc_ids":
			yes = slices.Contains(x.([]any), any(d.ID))
		case "file_paths":
			yes = some(x.([]any), func(p any) bool {
				return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(p.(string)), `\*`, ".*") + "$").MatchString(d.FilePath)
			})
		case "created_from":
			from, _, _ := date(x.(string))
			yes = !cut(d.created).Before(from)
		case "created_to":
			_, last, _ := date(x.(string))
			yes = !cut(d.created).After(last)
		case "tags":
			yes = holds(x, d.Metadata["tags"])
		case "metadata":
			for name, c := range x.(map[string]any) {
				v := d.Metadata[name]
				if name == "a.b" {
					a, _ := d.Metadata["a"].(map[string]any)
					v = a["b"]
				}
				yes = yes && holds(c, v)
			}
		case "any":
			yes = some(x.([]any), func(f any) bool { return permits(f.(map[string]any), d) })
		case "all":
			yes = !some(x.([]any), func(f any) bool { return !permits(f.(map[string]any), d) })
		case "not":
			yes = !permits(x.(map[string]any), d)
		}
		if !yes {
			return false
		}
	}
	return true
}

// seenWithin writes down everything that a reader can see of a base under a filter,
// asked one question, but for times and the generation.
func seenWithin(t testing.TB, kb *engine.KB, f *engine.Filter, text string) string {
	t.Helper()
	var b strings.Builder
	put := func(what string, x any, err error) {
		if err != nil {
			x = "error: " + err.Error()
		}
		j, jerr := json.Marshal(x)
		require.NoError(t, jerr)
		fmt.Fprintf(&b, "%s: %s\n", what, j)
	}
	for _, mode := range allModes {
		q := engine.Query{Query: text, Mode: mode, Filter: f}
		d, err := kb.QueryData(ctx, q)
		if err == nil {
			d.Metadata.StagesMS = nil
		}
		put(string(mode)+" data", d, err)
		x, err := kb.QueryExplain(ctx, q)
		if err == nil {
			x.Metadata.StagesMS, x.Total = nil, 0
		}
		put(string(mode)+" explanation", x, err)
		ask := func(what string, q engine.Query) {
			a, err := kb.Query(ctx, q)
			if err == nil {
				a.Metadata.StagesMS, a.Metadata.ProcessingTimeMS, a.Metadata.Generation = nil, 0, 0
			}
			put(string(mode)+" "+what, a, err)
		}
		q.IncludeChunkContent = true
		ask("answer", q)
		q.OnlyNeedContext = true
		ask("context", q)
	}
	var events []engine.Event
	err := kb.QueryStream(ctx, engine.Query{Query: text, Filter: f, IncludeProgress: true}, func(e engine.Event) error {
		if e.Metadata != nil {
			e.Metadata.StagesMS, e.Metadata.ProcessingTimeMS, e.Metadata.Generation = nil, 0, 0
		}
		events = append(events, e)
		return nil
	})
	put("stream", events, err)
	for _, g := range []engine.GraphRequest{{}, {MaxNodes: 3}, {Label: "ada lovelace", MaxDepth: 2}, {Label: "london", MaxDepth: 1, MaxNodes: 2}} {
		g.Filter = f
		x, err := kb.Graph(ctx, g)
		put("graph", x, err)
	}
	labels, err := kb.Labels(ctx, "", 0, f)
	put("labels", labels, err)
	for _, q := range []string{"a", "sec", "lon"} {
		l, err := kb.Labels(ctx, q, 4, f)
		put("labels like "+q, l, err)
	}
	popular, err := kb.PopularLabels(ctx, 0, f)
	put("popular", popular, err)
	for _, n := range append(slices.Clone(sharedNames), labels...) {
		e, err := kb.Entity(ctx, n, f)
		put("entity "+n, e, err)
		p, err := kb.Path(ctx, "london", n, f)
		put("path "+n, p, err)
		near, err := kb.Related(ctx, engine.RelatedRequest{Name: n, Filter: f, Limit: 5})
		put("related "+n, near, err)
		for _, step := range []engine.GraphStep{{Follow: "out"}, {Follow: "in", Hops: 2}} {
			found, err := kb.QueryGraph(ctx, engine.GraphQuery{GraphWalk: engine.GraphWalk{Start: []string{n}, Steps: []engine.GraphStep{
				step, {Except: &engine.GraphWalk{Start: []string{"london"}}},
			}}, Limit: 3, Filter: f})
			put("walk from "+n, found, err)
		}
	}
	return b.String()
}

// Under a filter everything that a base shows is what a base shows that holds the
// permitted documents alone, to the last bit; and no word that only a forbidden
// document says is in it. With profile vectors, which are made of all documents,
// the ranking may differ, and the second still holds.
func TestFilter_Holds(t *testing.T) {
	bases, filters, fresh, questions := 10, 100, 10, 3
	if testing.Short() || engine.Raced {
		bases, filters = 2, 40
	}
	for name, o := range map[string]engine.Options{
		"pure":   {Extractor: &byLines{}, Answerer: builtin.Answerer()},
		"served": {Extractor: &byLines{}, Answerer: builtin.Answerer(), Embedder: served{&enginetest.Embedder{}}},
	} {
		t.Run(name, func(t *testing.T) {
			filters := filters
			if o.Embedder != nil {
				filters = filters * 3 / 10
			}
			o.ChunkTokens, o.ChunkOverlap = 60, 1
			v := enginetest.New(t, o)
			permitted := map[int]int{}
			for base := range bases {
				seed := uint64(base)
				r := rand.New(rand.NewPCG(seed, 11))
				docs := make([]markedDoc, 6+r.IntN(12))
				name := fmt.Sprintf("all-%d", base)
				for i := range docs {
					docs[i] = newMarkedDoc(r, i)
				}
				add := func(name string, docs []markedDoc) {
					var in []engine.DocumentInput
					for _, d := range docs {
						in = append(in, d.DocumentInput)
					}
					_, err := v.KB(name).Add(ctx, in, "insert")
					require.NoError(t, err)
					v.Wait()
				}
				order := slices.Clone(docs)
				r.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
				add(name, order)
				kb := v.KB(name)
				for i := range docs {
					d, err := kb.Document(ctx, docs[i].ID)
					require.NoError(t, err)
					docs[i].created = d.CreatedAt
				}
				alone := map[string]string{} // bases of some documents, by their ids
				asked := map[string]int{}    // half of all filters permit nothing
				for n := range filters {
					j, err := json.Marshal(randomFilter(r, docs, 0))
					require.NoError(t, err)
					f, err := engine.ParseFilter(j)
					if err != nil { // gt beside gte and the like
						var field *engine.FieldError
						require.True(t, errors.As(err, &field))
						continue
					}
					var plain map[string]any
					require.NoError(t, json.Unmarshal(j, &plain))
					var in, out []markedDoc
					ids := ""
					for _, d := range docs {
						if permits(plain, d) {
							in, ids = append(in, d), ids+" "+d.ID
						} else {
							out = append(out, d)
						}
					}
					permitted[len(in)]++
					question := []string{"who wrote to charles babbage about the engine?", "letters and travel"}[n%2]
					got := seenWithin(t, kb, f, question)
					require.NotContains(t, got, `"source_id":""`, "seed %d filter %d: %s: what nobody permitted speaks of", seed, n, j)
					for _, d := range out {
						for _, c := range d.canary {
							if at := strings.Index(got, c); at >= 0 {
								t.Fatalf("seed %d filter %d: %s: %s shows through: %s", seed, n, j, c, got[max(0, at-200):min(len(got), at+100)])
							}
						}
					}
					if o.Embedder != nil || alone[ids] == "" && len(alone) == fresh || asked[ids] == questions {
						continue
					}
					asked[ids]++
					name := alone[ids]
					if name == "" {
						name = fmt.Sprintf("alone-%d-%d", base, len(alone))
						alone[ids] = name
						if len(in) > 0 {
							add(name, in)
						}
					}
					// The words of forbidden documents in a question change nothing either.
					question = "what does " + docs[r.IntN(len(docs))].canary[0] + " have to do with charles babbage, Secret Kanari03x and letters?"
					got, want := seenWithin(t, kb, f, question), seenWithin(t, v.KB(name), nil, question)
					if want != got {
						wl, gl := strings.Split(want, "\n"), strings.Split(got, "\n")
						for i := range wl {
							require.Equal(t, wl[i], gl[i], "seed %d filter %d: %s", seed, n, j)
						}
					}
				}
			}
			require.Greater(t, len(permitted), 5, "filters of every size: %v", permitted)
		})
	}
}

// What people wrote into the graph is of everything that they saw: under a filter
// their words are not shown, and names that they made one stay one.
func TestFilter_LeavesOutWhatPeopleWrote(t *testing.T) {
	for name, o := range map[string]engine.Options{
		"pure":   {Extractor: &byLines{}},
		"served": {Extractor: &byLines{}, Embedder: served{&enginetest.Embedder{}}},
	} {
		t.Run(name, func(t *testing.T) {
			v := enginetest.New(t, o)
			kb := v.KB("k")
			add := func(id, text string) {
				_, err := kb.Add(ctx, []engine.DocumentInput{{ID: id, FilePath: id + ".txt", Content: []byte(text)}}, "insert")
				require.NoError(t, err)
			}
			add("open", "Ada wrote to Babbage in London.\nentity|Ada|person|She wrote.\nentity|Babbage|person|He built.\nrelation|Ada|Babbage|letters|They wrote.|1\nrelation|Babbage|London|home|He lived there.|1\n")
			add("shut", "Countess Kanari of London.\nentity|Kanari|person|Kanari hides.\nentity|London|Kanari|Kanari town.\nrelation|Kanari|London|kanari|Kanari walks.|9\nrelation|Babbage|London|kanari|Kanari home.|9\n")
			v.Wait()
			_, err := kb.CreateEntity(ctx, "Handmade Kanari", engine.EntityEdit{Type: ptr("kanari"), Description: ptr("A kanari of people.")})
			require.NoError(t, err)
			_, err = kb.CreateRelation(ctx, "Handmade Kanari", "Babbage", engine.RelationEdit{Description: ptr("A kanari told me."), Keywords: ptr("kanari"), Weight: ptr(70.0)})
			require.NoError(t, err)
			_, err = kb.EditEntity(ctx, "Babbage", engine.EntityEdit{Type: ptr("kanari"), Description: ptr("The kanari's friend."), Name: ptr("Kanari Babbage")}, engine.EditOptions{AllowRename: true})
			require.NoError(t, err)
			_, err = kb.EditRelation(ctx, "Ada", "Kanari Babbage", engine.RelationEdit{Description: ptr("A kanari said so."), Keywords: ptr("kanari"), Weight: ptr(70.0)}, engine.EditOptions{})
			require.NoError(t, err)
			_, err = kb.Merge(ctx, engine.MergeRequest{Change: []string{"Ada"}, Into: "Kanari"})
			require.NoError(t, err)
			v.Wait()
			f, err := engine.ParseFilter([]byte(`{"doc_ids":["open"]}`))
			require.NoError(t, err)
			for _, q := range []string{"Who wrote to Babbage?", "Ada and her letters home"} {
				require.Contains(t, strings.ToLower(seenWithin(t, kb, nil, q)), "kanari")
				got := strings.ToLower(seenWithin(t, kb, f, q))
				if at := strings.Index(got, "kanari"); at >= 0 {
					t.Fatalf("shows through: %s", got[max(0, at-300):min(len(got), at+100)])
				}
			}
			e, err := kb.Entity(ctx, "Kanari", f) // another name of Ada's now
			require.NoError(t, err)
			require.Equal(t, "Ada", e.ID)
			require.Equal(t, "She wrote.", e.Properties["description"])
			p, err := kb.Path(ctx, "Ada", "London", f)
			require.NoError(t, err)
			require.True(t, p.Found)
			require.Equal(t, 1.0, p.Edges[0].Properties["weight"])
			_, err = kb.Entity(ctx, "Handmade Kanari", f)
			require.ErrorIs(t, err, engine.ErrNotFound)
		})
	}
}

// An answer that is remembered is one to the same filter: the prompt of another
// holds nothing of what it forbids.
func TestFilter_IsPartOfWhatIsRemembered(t *testing.T) {
	chat := &enginetest.Chatter{Reply: func(engine.ChatRequest) (string, error) { return "It is so [1].", nil }}
	v := enginetest.New(t, engine.Options{Chatter: chat, Answerer: engine.ModelAnswerer(chat, engine.AnswerOptions{})})
	v.Add("k", "open", "Ada wrote to Babbage.", "shut", "Ada wrote to Kanari.")
	v.Wait()
	ask := func(f string) *engine.Answer {
		q := engine.Query{Query: "Whom did Ada write to?"}
		if f != "" {
			var err error
			q.Filter, err = engine.ParseFilter([]byte(f))
			require.NoError(t, err)
		}
		a, err := v.KB("k").Query(ctx, q)
		require.NoError(t, err)
		return a
	}
	require.Len(t, ask("").References, 2)
	for range 2 {
		a := ask(`{"doc_ids":["open"]}`)
		require.Len(t, a.References, 1)
		require.Equal(t, "open", a.References[0].DocID)
		require.Len(t, ask("").References, 2)
	}
}

// The same over real text with the builtin models, where names are long, passages
// have many and the walk goes far.
func TestFilter_HoldsOnText(t *testing.T) {
	type passage struct{ Title, Text string }
	passages := evaldata.Rows[passage](t, "qa/2wiki/corpus6119.jsonl")[:engine.Rounds(500)]
	v := enginetest.New(t, engine.Options{
		Embedder: builtin.Embedder(), Extractor: builtin.Extractor(builtin.Options{}), Answerer: builtin.Answerer(),
	})
	var all, some []engine.DocumentInput
	for i, p := range passages {
		d := engine.DocumentInput{
			ID: fmt.Sprintf("p%05d", i), FilePath: p.Title, Content: []byte(p.Text), Metadata: map[string]any{"title": p.Title, "third": i % 3},
		}
		if all = append(all, d); i%3 == 1 {
			some = append(some, d)
		}
	}
	for name, docs := range map[string][]engine.DocumentInput{"all": all, "some": some} {
		_, err := v.KB(name).Add(ctx, docs, "insert")
		require.NoError(t, err)
	}
	v.Wait()
	f, err := engine.ParseFilter([]byte(`{"metadata":{"third":1}}`))
	require.NoError(t, err)
	for i, q := range evaldata.Rows[struct{ Question string }](t, "qa/2wiki/questions.jsonl") {
		if i == engine.Rounds(40) {
			break
		}
		for _, mode := range allModes {
			got, err := v.KB("all").QueryData(ctx, engine.Query{Query: q.Question, Mode: mode, Filter: f})
			require.NoError(t, err)
			want, err := v.KB("some").QueryData(ctx, engine.Query{Query: q.Question, Mode: mode})
			require.NoError(t, err)
			got.Metadata.StagesMS, want.Metadata.StagesMS = nil, nil
			require.Equal(t, want, got, "%s: %s", mode, q.Question)
		}
	}
}
