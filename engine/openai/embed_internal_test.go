package openai

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// A vector is read from base64 and from numbers, and anything else is an error.
func TestVector_Unmarshal(t *testing.T) {
	for name, x := range map[string]struct {
		in      string
		values  []float32
		numbers bool
		wrong   bool
	}{
		"base64":          {in: `"AACAPwAAAMA="`, values: []float32{1, -2}},
		"escaped slashes": {in: `"\/\/9\/fw=="`, values: []float32{math.MaxFloat32}},
		"empty base64":    {in: `""`, values: []float32{}},
		"numbers":         {in: `[ 1, -2e0 ]`, values: []float32{1, -2}, numbers: true},
		"null":            {in: `null`},
		"not base64":      {in: `"*"`, wrong: true},
		"half a number":   {in: `"AAA="`, wrong: true},
		"an object":       {in: `{}`, wrong: true},
		"words":           {in: `["a"]`, wrong: true},
		"a number":        {in: `7`, wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			var v vector
			err := json.Unmarshal([]byte(x.in), &v)
			if x.wrong {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, x.numbers, v.numbers)
			require.Equal(t, x.values, v.values)
		})
	}
}

// Whatever a server answers, reading its vectors ends without a panic, and numbers
// come back as they were written.
func FuzzVector(f *testing.F) {
	for _, s := range []string{`"AACAPw=="`, `[1,2]`, `null`, `"\u0041"`, `"`, `{"a":[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v vector
		if json.Unmarshal(b, &v) != nil || !v.numbers {
			return
		}
		again, err := json.Marshal(v.values)
		require.NoError(t, err)
		var w vector
		require.NoError(t, json.Unmarshal(again, &w))
		require.Equal(t, v.values, w.values)
	})
}
