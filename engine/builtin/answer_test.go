package builtin

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
)

var evidence = []engine.EvidenceChunk{
	{ReferenceID: "1", Title: "Altid ballade", Text: "Altid ballade is a 1955 Danish film directed by Gabriel Axel. It was shown in Paris. It was shown in Paris."},
	{ReferenceID: "2", Title: "Gabriel Axel", Text: "# Gabriel Axel\n\nGabriel Axel was a film director. He was born in Aarhus in 1918. His favourite dish was herring."},
	{ReferenceID: "3", Title: "Herring", Text: "The herring is a fish. It swims in the sea."},
}

func answer(t testing.TB, q engine.AnswerRequest) string {
	t.Helper()
	var streamed strings.Builder
	a, err := Answerer().Answer(context.Background(), q, func(s string) error {
		require.NotEmpty(t, s)
		streamed.WriteString(s)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, a.Text, streamed.String())
	quiet, err := Answerer().Answer(context.Background(), q, nil)
	require.NoError(t, err)
	require.Equal(t, a, quiet)
	return a.Text
}

var citation = regexp.MustCompile(`(?s)^(.*?) \[(\d+)\]`)

// quoted takes an answer apart and checks that each sentence is the bytes of a
// chunk of the reference it cites.
func quoted(t testing.TB, q engine.AnswerRequest, text string) (out []string) {
	t.Helper()
	text = strings.TrimPrefix(text, noSentence)
	for text != "" {
		m := citation.FindStringSubmatch(text)
		require.NotNil(t, m, "%q cites nothing", text)
		s := strings.TrimLeft(m[1], "\n ")
		found := false
		for _, c := range q.Chunks {
			for _, lead := range []string{"", "- "} {
				found = found || c.ReferenceID == m[2] && strings.Contains(c.Text, strings.TrimSuffix(strings.TrimPrefix(s, lead), cutMark))
			}
		}
		require.True(t, found, "%q is not in the evidence of [%s]", s, m[2])
		out = append(out, s)
		text = text[len(m[0]):]
	}
	return out
}

func TestAnswerer_QuotesWhatIsAsked(t *testing.T) {
	for _, c := range []struct{ query, form, want string }{
		{"Who directed Altid ballade?", "Single Sentence", "Altid ballade is a 1955 Danish film directed by Gabriel Axel. [1]"},
		{"Where was the director of Altid ballade born?", "Multiple Paragraphs",
			"Altid ballade is a 1955 Danish film directed by Gabriel Axel. [1]\n\nHe was born in Aarhus in 1918. [2]"},
		{"Where was Gabriel Axel born?", "Bullet Points", "- Gabriel Axel was a film director. [2]\n- He was born in Aarhus in 1918. [2]"},
		{"quantum chromodynamics", "", noSentence + " Altid ballade is a 1955 Danish film directed by Gabriel Axel. [1]"},
		{"who is he", "", noSentence + " Altid ballade is a 1955 Danish film directed by Gabriel Axel. [1]"},
	} {
		t.Run(c.query, func(t *testing.T) {
			q := engine.AnswerRequest{Query: c.query, ResponseType: c.form, Chunks: evidence}
			got := answer(t, q)
			quoted(t, q, got)
			require.Equal(t, c.want, got)
		})
	}
}

func TestAnswerer_WithoutEvidence(t *testing.T) {
	require.Equal(t, "none", Answerer().Model())
	for _, chunks := range [][]engine.EvidenceChunk{nil, {}, {{ReferenceID: "1", Text: " \n---"}}} {
		require.Equal(t, noEvidence, answer(t, engine.AnswerRequest{Query: "Who?", Chunks: chunks}))
	}
}

// However much is asked and found, an answer stays short.
func TestAnswerer_IsBounded(t *testing.T) {
	q := engine.AnswerRequest{Query: strings.Repeat("alpha beta gamma delta ", 3000)}
	for i := range 100 {
		q.Chunks = append(q.Chunks, engine.EvidenceChunk{
			ReferenceID: strconv.Itoa(i),
			Text:        strings.Repeat("Alpha "+strconv.Itoa(i)+" beta "+strconv.Itoa(i*7)+" ", 200) + ". " + strings.Repeat("Gamma delta one two three. ", 500),
		})
	}
	for form, n := range map[string]int{"Bullet Points": 5, "Single Paragraph": 3, "Multiple Paragraphs": 6, "a haiku": 6, "one sentence": 1} {
		q.ResponseType = form
		got := quoted(t, q, answer(t, q))
		require.NotEmpty(t, got)
		require.LessOrEqual(t, len(got), n, form)
		for _, s := range got {
			require.LessOrEqual(t, len(s), maxQuoteBytes+len(cutMark)+2)
		}
	}
}

func TestAnswerer_Errors(t *testing.T) {
	full := errors.New("full")
	n := 0
	_, err := Answerer().Answer(context.Background(), engine.AnswerRequest{Query: "Gabriel Axel film", Chunks: evidence}, func(string) error { n++; return full })
	require.ErrorIs(t, err, full)
	require.Equal(t, 1, n)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = Answerer().Answer(ctx, engine.AnswerRequest{Query: "Gabriel Axel", Chunks: evidence}, nil)
	require.ErrorIs(t, err, context.Canceled)
}

func FuzzAnswer(f *testing.F) {
	f.Add("Who directed it?", "Single Paragraph", evidence[0].Text, evidence[1].Text)
	f.Add("", "", "", "\xff\xc3 x. y.")
	f.Add("alpha", "bullets", strings.Repeat("alpha ", 400), "alpha [1] - beta [2]. alpha\n\n- alpha")
	f.Fuzz(func(t *testing.T, query, form, a, b string) {
		q := engine.AnswerRequest{Query: query, ResponseType: form, Chunks: []engine.EvidenceChunk{
			{ReferenceID: "1", Title: query, Text: a}, {ReferenceID: "2", Title: b, Text: b}}}
		text := answer(t, q)
		if !strings.ContainsAny(a+b, "[]") && text != noEvidence {
			quoted(t, q, text)
		}
		require.LessOrEqual(t, len(text), 6*(maxQuoteBytes+40)+len(noSentence))
	})
}
