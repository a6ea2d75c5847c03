package builtin

import (
	"context"
	"slices"
	"strings"
	"unicode"

	"alcove/engine"
	"alcove/engine/builtin/wordtable"
)

// The weights of choose, judged on the development questions and not tuned
// finely: what counts is which words of the question a sentence holds.
const (
	// nameWeight is for words written with a capital in the question.
	nameWeight = 1.5
	// titleShare is what a word counts that the sentence's document is called by:
	// "He died in 1950" speaks of the document's subject.
	titleShare = 0.6
	// aboutShare is what such a word counts more when the sentence holds it itself.
	aboutShare = 0.3
	// bridgeShare is what a name counts that an earlier quote brought in.
	bridgeShare = 0.5
	// rankLoss lowers sentences of later chunks: 1/(1 + rankLoss x rank).
	rankLoss = 0.12
	// openingGain raises the first sentence of a chunk, numberGain one with a
	// number where the question asks for one.
	openingGain, numberGain = 1.1, 1.2
	// coveredShare is what a word counts that an earlier quote holds already.
	coveredShare = 0.35
	// minSupport: a quote holds this share of the question's weight, and of what
	// the best quote scores.
	minSupport, minOfBest = 0.12, 0.2
	// minNew: a later quote may score less if it holds this share of the
	// question's weight that no earlier one holds: a question of two parts is
	// mostly answered by two sentences, and the word that asks ("born") is
	// commoner than the names.
	minNew = 0.08
	// sameShare: sentences that share this much of their words say the same.
	sameShare = 0.7
)

// candidate is one sentence of the evidence.
type candidate struct {
	quote
	terms   []string // sorted, each once, no function words
	title   []string // terms of the document's title
	prior   float64
	words   int
	numbers bool
}

// question is what is asked, as weighted terms. Bridges are names that quotes
// brought in.
type question struct {
	weight  map[string]float64
	total   float64
	bridge  map[string]float64
	covered map[string]bool
	numeric bool // asks when, how many, how much
}

// choose picks at most n sentences, greedily: each next one for the words of the
// question that no earlier one holds, and for names that an earlier one brought
// in. They come back source by source, in order of the text.
func choose(ctx context.Context, q engine.AnswerRequest, n int) ([]quote, error) {
	ask := readQuestion(q.Query)
	if ask.total == 0 {
		return nil, ctx.Err()
	}
	pool, err := gather(ctx, q.Chunks)
	if err != nil {
		return nil, err
	}
	var taken []candidate
	best := 0.0
	for len(taken) < n {
		at, score := -1, 0.0
		for i := range pool {
			s := ask.score(&pool[i])
			if s <= score || s < minOfBest*best && ask.adds(&pool[i]) < minNew || repeats(&pool[i], taken) {
				continue
			}
			at, score = i, s
		}
		if at < 0 || len(taken) == 0 && score < minSupport {
			break
		}
		best = max(best, score)
		ask.take(&pool[at])
		taken = append(taken, pool[at])
		pool = slices.Delete(pool, at, at+1)
	}
	return inOrder(taken), nil
}

// readQuestion weighs the words of a question by how rare they are in general
// English, names more.
func readQuestion(text string) *question {
	a := &question{weight: map[string]float64{}, bridge: map[string]float64{}, covered: map[string]bool{}}
	lower := strings.ToLower(text)
	for _, w := range [...]string{"when ", "how many", "how much", "what year", "which year", "how old", "how long", "what date"} {
		a.numeric = a.numeric || strings.Contains(lower, w)
	}
	opens := true
	for w := range strings.FieldsSeq(text) {
		capital := unicode.IsUpper(firstRune(strings.TrimLeft(w, `"'“‘(`))) && !opens
		opens = false
		for _, t := range engine.Terms(w) {
			if len(a.weight) == maxQuestionTerms {
				return a
			}
			if _, seen := a.weight[t]; seen || engine.IsFunctionWord(strings.ToLower(strings.Trim(w, `.,;:?!"'`))) {
				continue
			}
			x := idf(w)
			if capital {
				x = float64(x * nameWeight)
			}
			a.weight[t] = x
			a.total += x
		}
	}
	return a
}

// idf is the general-English weight of the rarest word in w.
func idf(w string) float64 {
	var scan wordtable.Scanner
	scan.Reset(w)
	t := words()
	x := t.IDFOf(0)
	for s := scan.Next(); s != nil; s = scan.Next() {
		x = max(x, t.IDF(s, wordtable.Hash(s)))
	}
	return float64(x)
}

// gather reads the sentences of the evidence.
func gather(ctx context.Context, chunks []engine.EvidenceChunk) ([]candidate, error) {
	var pool []candidate
	seen := map[string]bool{}
	for rank, c := range chunks[:min(len(chunks), maxAnswerChunks)] {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		title := sortedTerms(c.Title)
		sentences := engine.Sentences(c.Text)
		for i, s := range sentences[:min(len(sentences), maxAnswerSentences)] {
			text := c.Text[s.Start:s.End]
			if seen[text] {
				continue // neighbouring chunks overlap
			}
			seen[text] = true
			scored := text[:min(len(text), maxScoredBytes)]
			k := candidate{
				quote: quote{text: cut(text), reference: c.ReferenceID, chunk: rank, sentence: i},
				terms: sortedTerms(scored), title: title, words: len(strings.Fields(scored)),
				prior: 1 / (1 + float64(rankLoss*float64(rank))), numbers: strings.ContainsAny(scored, "0123456789"),
			}
			if i == 0 {
				k.prior *= openingGain
			}
			if k.words < 4 {
				k.prior *= 0.4 // a heading, a cell
			}
			pool = append(pool, k)
		}
	}
	return pool, nil
}

func sortedTerms(text string) []string {
	t := slices.DeleteFunc(engine.Terms(text), engine.IsFunctionWord)
	slices.Sort(t)
	return slices.Compact(t)
}

// score is the share of the question's weight that a sentence holds. Conversions
// keep a machine from fusing products into the sum: the choice is the same everywhere.
func (a *question) score(c *candidate) float64 {
	var sum float64
	own := false
	for _, t := range c.terms {
		x, asked := a.weight[t]
		if !asked {
			x = float64(a.bridge[t] * bridgeShare)
		}
		if a.covered[t] {
			x = float64(x * coveredShare)
		} else if x > 0 {
			own = true
		}
		sum += x
	}
	if !own && len(a.covered) > 0 {
		return 0 // nothing that is not said already
	}
	for _, t := range c.title {
		x, asked := a.weight[t]
		if !asked {
			x = float64(a.bridge[t] * bridgeShare)
		}
		if _, in := slices.BinarySearch(c.terms, t); in {
			x = float64(x * aboutShare)
		} else {
			x = float64(x * titleShare)
		}
		if a.covered[t] {
			x = float64(x * coveredShare)
		}
		sum += x
	}
	sum *= c.prior / a.total
	if a.numeric && c.numbers {
		sum *= numberGain
	}
	return sum
}

// adds is the share of the question's weight in words that a sentence holds and
// no quote does yet.
func (a *question) adds(c *candidate) float64 {
	var sum float64
	for _, t := range c.terms {
		if !a.covered[t] {
			sum += a.weight[t]
		}
	}
	return sum / a.total
}

// take marks what a quote says and adds the names it brings in.
func (a *question) take(c *candidate) {
	for _, t := range c.terms {
		a.covered[t] = true
	}
	for _, n := range engine.FindNames("", c.text) {
		for _, t := range engine.Terms(n.Surface) {
			if len(a.bridge) >= maxQuestionTerms {
				return
			}
			if _, asked := a.weight[t]; !asked && a.bridge[t] == 0 {
				a.bridge[t] = idf(n.Surface)
				delete(a.covered, t) // to be said more of
			}
		}
	}
}

// repeats reports whether a sentence says what a taken one says.
func repeats(c *candidate, taken []candidate) bool {
	for i := range taken {
		t := &taken[i]
		if t.text == c.text {
			return true
		}
		shared := 0
		for _, x := range c.terms {
			if _, in := slices.BinarySearch(t.terms, x); in {
				shared++
			}
		}
		if n := min(len(c.terms), len(t.terms)); n > 0 && float64(shared) >= sameShare*float64(n) {
			return true
		}
	}
	return false
}

// inOrder puts the sources in the order in which they were first taken, and the
// sentences of one chunk in order of the text.
func inOrder(taken []candidate) []quote {
	first := map[string]int{}
	out := make([]quote, len(taken))
	for i, c := range taken {
		if _, ok := first[c.reference]; !ok {
			first[c.reference] = i
		}
		out[i] = c.quote
	}
	slices.SortStableFunc(out, func(a, b quote) int {
		switch {
		case first[a.reference] != first[b.reference]:
			return first[a.reference] - first[b.reference]
		case a.chunk != b.chunk:
			return a.chunk - b.chunk
		}
		return a.sentence - b.sentence
	})
	return out
}
