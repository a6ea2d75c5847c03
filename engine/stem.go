package engine

import "strings"

// suffixes are tried in order; the first that leaves enough of a word goes.
var suffixes = [...]string{
	"ational", "iveness", "fulness", "ousness", "ations", "ation", "ement", "ments", "ingly", "ment", "ness",
	"ings", "ions", "ing", "ion", "ies", "ors", "ers", "ist", "ive", "ied", "edly", "ed", "or", "er", "ly",
	"es", "al", "s", "e", "y",
}

// stem strips one English suffix from a folded word: enough to join director,
// directed and direction, and to keep born and birth apart. Words under four
// bytes and numbers stay as they are.
func stem(w string) string {
	if len(w) < 4 || w[len(w)-1] < 'a' || w[len(w)-1] > 'z' || digits(w) {
		return w
	}
	for _, s := range suffixes {
		keep := 3
		if len(s) < 4 {
			keep = 4
		}
		if len(w)-len(s) < keep || !strings.HasSuffix(w, s) {
			continue
		}
		w = w[:len(w)-len(s)]
		if l := len(w); w[l-1] == w[l-2] && l > 3 && w[l-1] != 's' && w[l-1] != 'l' {
			w = w[:l-1]
		}
		break
	}
	return w
}
