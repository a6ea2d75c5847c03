package engine

import "strings"

// The word lists of the recipe. They are English where they must be; a text in
// another language loses what they give and nothing else.

func wordSet(s string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		m[w] = true
	}
	return m
}

var (
	// joiners may stand in lower case inside a name.
	joiners = wordSet("of the de la le du von van der den di da do dos das al el bin ibn zu af av y e i del della des ter ten")

	// notNames do not open a name at the start of a sentence and are no name by themselves.
	notNames = wordSet(`the a an in on at of for to by from with and or but if when while where who what which how why
	he she it they we you i his her its their our my this that these those there here as after before during whom whose
	since until also however although though because both each all some many most other another such then thus
	was is are were be been being has have had do does did not no yes so than more less one two three four five
	first second third may might can could should would will under over between into through about against
	according despite unlike like later early following among within without upon january february march april
	june july august september october november december monday tuesday wednesday thursday friday saturday sunday
	several part around born only once just even still six seven eight nine ten`)

	// honorifics stand before a name; the name is known without them too.
	honorifics = wordSet(`sir dame dr mr mrs ms prof professor lord lady saint st king queen prince princess president
	general captain colonel major pope emperor count countess duke duchess baron bishop archbishop`)

	// functionWords are left out of the relation words of a question.
	functionWords = wordSet(`the a an in on at of for to by from with and or but if when while where who what which how why he she it they
	we you i his her its their this that these those there here as was is are were be been being has have had do does did not
	no so than more both same out s also him them whom whose other name named first`)

	// abbreviations keep their full stop when written with a capital.
	abbreviations = wordSet("st dr mr mrs ms jr sr no mt ft inc ltd co vs prof gen col capt lt rev hon")
)

const longestAbbreviation = 4
