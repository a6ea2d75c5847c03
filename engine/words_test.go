package engine

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestSentences(t *testing.T) {
	for text, want := range map[string][]string{
		"":                           nil,
		" \n\t. ... ":                nil,
		"One. Two? Three!":           {"One.", "Two?", "Three!"},
		`He said "Stop." Then left.`: {`He said "Stop."`, "Then left."},
		"Dr. J. R. Smith of the U.S. Navy. He left.":                                   {"Dr. J. R. Smith of the U.S. Navy.", "He left."},
		"It cost 3.5 million (approx. as planned). See a.b.":                           {"It cost 3.5 million (approx. as planned).", "See a.b."},
		"A heading\nText of it; and more":                                              {"A heading", "Text of it;", "and more"},
		"this long line was wrapped by an editor at some place\nand goes on here. End": {"this long line was wrapped by an editor at some place\nand goes on here.", "End"},
		"東京は首都。大阪は違う！":                                                                 {"東京は首都。", "大阪は違う！"},
		"«Привет». ¿Qué? (Sí.)":                                                        {"«Привет».", "¿Qué?", "(Sí.)"},
		"a\x00b \xff\xfe. Broken":                                                      {"a\x00b \xff\xfe.", "Broken"},
	} {
		var got []string
		for _, s := range Sentences(text) {
			got = append(got, text[s.Start:s.End])
		}
		require.Equal(t, want, got, "%q", text)
	}
}

// A long run of one mark takes linear time; a test that does not end says so.
func TestScan_IsLinear(t *testing.T) {
	OneGoroutine(t)
	for _, s := range []string{".", "\"", "\"A\" B ", "A of ", "\n", "a. ", ". ", "’", "U.", "(", "-a"} {
		text := strings.Repeat(s, 1<<18/len(s))
		Sentences(text)
		FindNames("", text)
	}
}

// The parts that a text is taken apart into are those of its words one by one.
func TestScan_PartsAreThoseOfTheWords(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	pieces := []string{"a", "B", "Ada", "x", "7", "é", "É", "ß", "東", "カ", "ि", "\u0301", "'", "’", "-", "–", ".", "U.S.", "&", "AT&T", " ", " ", "\n", "_", "\xff", ",", "İ"}
	for range 2000 {
		var b strings.Builder
		for range r.IntN(30) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		requireParts(t, b.String())
	}
}

func requireParts(t *testing.T, text string) {
	t.Helper()
	s := scan(text)
	at := 0
	for _, w := range s.words {
		require.Equal(t, at, w.part, "%q", text)
		require.Equal(t, appendAnyParts(nil, w.text), s.parts[w.part:w.last], "%q of %q", w.text, text)
		r, _ := utf8.DecodeRuneInString(w.text)
		require.Equal(t, unicode.IsUpper(r) || unicode.IsTitle(r), w.upper, "%q", w.text)
		at = w.last
	}
	require.Len(t, s.parts, at)
}

func TestTerms(t *testing.T) {
	for text, want := range map[string]string{
		"The director's films, directed in Łódź":      "the direct film direct in lodz",
		"half-brother O’Brien ʼn Straße ÆON":          "half broth obrien n strass aeon",
		"cafe\u0301 café CAFÉ ｃａｆｅ":                   "cafe cafe cafe cafe",
		"東京大学 x 3 トヨタ ｶﾅ":                             "東京 京大 大学 x 3 トヨ ヨタ カナ",
		"서울특별시":                                       "서울 울특 특별 별시",
		"ภาษาไทย 中":                                   "ภา าษ ษา าไ ไท ทย 中",
		"น้ำมัน":                                      "น้ ้ํ ํา าม มั ัน",
		"北京大学在哪里？The end":                             "北京 京大 大学 学在 在哪 哪里 the end",
		"हिन्दी भाषा":                                 "हिन्दी भाषा",
		"النَّصُّ":                                    "النص",
		"Việt Nam, Ёлка":                              "viet nam елка",
		"1,000 3.5 A4":                                "1 000 3 5 a4",
		"https://example.com/a_b?x=1&y=2 a@b.co \xff": "http exampl com a b x 1 y 2 a b co",
	} {
		require.Equal(t, want, strings.Join(Terms(text), " "), "%q", text)
	}
}

// A plain word is what the way for any word makes of it, and every stem is the
// beginning of its word.
func TestAppendParts_PlainWords(t *testing.T) {
	for _, w := range strings.Fields("a A ab Ada ADA McDonald x3 3x 1843 O'Brien half-brother U.S. s' s's Łódź 東京 é AT&T . ' " + strings.Join(suffixes[:], "x ")) {
		for _, w := range []string{w, "b" + w, w + "ing", w + "'s", w + "9"} {
			parts := appendParts(nil, w)
			require.Equal(t, appendAnyParts(nil, w), parts, "%q", w)
			for _, p := range parts {
				require.True(t, strings.HasPrefix(p.key, stem(p.key)), "%q", p.key)
			}
		}
	}
	require.Empty(t, appendParts(nil, ""))
}

func TestEntityID(t *testing.T) {
	for name, want := range map[string]string{
		"  Ada \n Lovelace ":     "ada lovelace",
		"“Ada” Lovelace":         `"ada" lovelace`,
		`"Ada Lovelace"`:         "ada lovelace",
		"Jean–Paul ’s":           "jean-paul 's",
		"STRASSE":                "strasse",
		"Straße":                 "strasse",
		"ﬁne Ｗｉｄｅ":               "fine wide",
		"cafe\u0301":             "café",
		"\u200b\u00a0":           "",
		`""`:                     "",
		"a\xffb":                 "a\ufffdb",
		"\"'nested'\"":           "nested",
		"Zero\u200dWidth\x00Nul": "zerowidth nul",
	} {
		require.Equal(t, want, EntityID(name), "%q", name)
	}
}

func FuzzEntityID(f *testing.F) {
	for _, s := range []string{"", "Ada", `" x "`, "İ ΐ ß ﬀ", "\xff", "''\"\"", "\u1e9e\u0345", "ͅ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id := EntityID(s)
		require.Equal(t, id, EntityID(id))
		require.True(t, utf8.ValidString(id))
	})
}

func FuzzAnalysis(f *testing.F) {
	for _, s := range []string{
		"", "One. Two", `Ida "Mia" Brandt (born 1950) is. A\nB`, "\xff\x00.\n\n", "東京大学は、東京にある。", "É\u0301 l’été d'Ampère–Weber A.B.C. AT&T & Co",
		"The The The of of The", strings.Repeat("Word of ", 300), "\"\" \"A\" \"B\" C", "e\u0301\u0301'' - -- -a a- ¿(«x»)?",
	} {
		f.Add("Title, of it (x)", s, "Name of it")
	}
	f.Fuzz(func(t *testing.T, title, text, extra string) {
		requireParts(t, text)
		sentences := Sentences(text)
		for i, s := range sentences {
			require.True(t, s.Start >= 0 && s.Start < s.End && s.End <= len(text))
			require.True(t, i == 0 || sentences[i-1].End <= s.Start)
			require.False(t, unicode.IsSpace(rune(text[s.Start])))
		}
		for _, n := range FindNames(title, text) {
			require.NotEmpty(t, n.Key)
			require.Equal(t, n.Key, strings.Join(strings.Fields(n.Key), " "))
			if n.Sentence < 0 {
				continue
			}
			require.Equal(t, n.Surface, text[n.Start:n.End])
			s := sentences[n.Sentence]
			require.True(t, s.Start <= n.Start && n.End <= s.End, "%+v outside of %+v", n, s)
		}
		r := newRecall()
		r.add(0, analyse(title, []string{extra, title}, text, []string{extra, title}))
		for _, w := range analyse(title, nil, text, []string{extra}).windows {
			for _, l := range w.links {
				require.NotEmpty(t, l.Key)
				for _, s := range l.Sentences {
					require.Less(t, int(s), len(w.text.Sentences))
				}
			}
		}
		r.walk(parseQuestion(r, text, true), 3, nil, byID)
		r.remove(0)
		require.Zero(t, r.lex.Bytes())
	})
}
