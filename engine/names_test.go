package engine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFindNames(t *testing.T) {
	for text, want := range map[string][]string{
		"She met King Harald of Norway in St. Olav's church.": {"king harald of norway", "harald of norway", "king harald", "norway", "st olav"},
		`Ida "Mia" Brandt sang.`:                              {"ida", "mia brandt", "ida brandt", "mia", "brandt"},
		"However the vote was lost.":                          nil,
		"People of The Hague voted.":                          {"people of the hague", "people", "hague"},
		"He works at AT&T and at Simon & Schuster.":           {"att", "simon schuster"},
		"Anna Maria Luisa Smith was born in Łódź.":            {"anna maria luisa smith", "anna smith", "lodz"},
		"Born in Lyon, Ampère taught.":                        {"lyon", "ampere"},
		"東京大学は東京にある。":                                         nil,
		strings.Repeat("SHOUTING ", 40):                       nil,
	} {
		var got []string
		for _, n := range FindNames("", text) {
			got = append(got, n.Key)
			require.True(t, n.Start >= 0 && n.End > n.Start && text[n.Start:n.End] == n.Surface, "%q: %+v", text, n)
		}
		require.Equal(t, want, got, text)
	}
}
