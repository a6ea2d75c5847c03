package wordtable

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func source(n, dim int) Source {
	rng := rand.New(rand.NewPCG(1, 2))
	s := Source{Name: "test 1.0"}
	for i := range n {
		row := make([]float32, dim)
		for j := range row {
			row[j] = float32(rng.NormFloat64())
		}
		s.Words = append(s.Words, "w"+strconv.Itoa(i))
		s.Ranks = append(s.Ranks, i)
		s.Rows = append(s.Rows, row)
	}
	return s
}

func encoded(t testing.TB, s Source) string {
	b, err := Encode(s)
	require.NoError(t, err)
	return string(b)
}

// What was written comes back: every word, its weight, and its row to within
// half a step of its scale.
func TestTable_RoundTrip(t *testing.T) {
	s := source(500, 8)
	s.Rows[7] = make([]float32, 8) // a row of zeros has no scale
	file := encoded(t, s)
	require.Equal(t, file, encoded(t, s), "the same source gives the same bytes")
	x, err := Open(file)
	require.NoError(t, err)
	require.NoError(t, x.Verify())
	require.Equal(t, 500, x.Len())
	require.Equal(t, 8, x.Dim())
	name, _ := x.Source()
	require.Equal(t, "test 1.0", name)
	var h float64
	for i := range s.Words {
		h += 1 / float64(i+2)
	}
	for i, w := range s.Words {
		id, ok := x.Lookup([]byte(w), Hash([]byte(w)))
		require.True(t, ok)
		require.Equal(t, i, id)
		require.Equal(t, w, x.Word(id))
		require.InDelta(t, math.Log(float64(i)+10)-1, x.IDFOf(id), 1e-6)
		row, factor := x.Row(id)
		weight := 1e-4 / (1e-4 + 1/(float64(i+2)*h))
		for j, v := range s.Rows[i] {
			require.InDelta(t, float64(v)*weight, float64(int8(row[j]))*float64(factor), 0.02*weight)
		}
	}
	_, ok := x.Lookup([]byte("w500"), Hash([]byte("w500")))
	require.False(t, ok)
	require.Equal(t, x.UnknownIDF(), x.IDF([]byte("w500"), Hash([]byte("w500"))))
	require.Greater(t, x.UnknownIDF(), x.IDFOf(499))
	require.EqualValues(t, 1, x.Count(0))
	require.InDelta(t, 1+math.Log(3), x.Count(3), 1e-6)
	require.Equal(t, x.Count(MaxCount), x.Count(1<<30))
	var norm float64
	for _, c := range x.Common() {
		norm += float64(c) * float64(c)
	}
	require.InDelta(t, 1, norm, 1e-5)
}

// Common is the main direction of texts that are really drawn.
func TestCommon_IsTheDirectionOfRandomTexts(t *testing.T) {
	const dim = 6
	s := source(400, dim)
	for i := range s.Rows {
		s.Rows[i][2] += 1.5 // what all words share
	}
	q := quantise(s)
	common := q.common()
	rng := rand.New(rand.NewPCG(3, 4))
	var sum float64
	for range 2000 {
		var mean [dim]float64
		for range commonWords {
			u, i := rng.Float64(), 0
			for ; i < len(q.p)-1 && u > q.p[i]; i++ {
				u -= q.p[i]
			}
			for j := range mean {
				mean[j] += float64(q.rows[i*dim+j]) * q.scale[i] * q.weight[i]
			}
		}
		var d, n float64
		for j, v := range mean {
			d += v * float64(common[j])
			n += v * v
		}
		sum += d * d / n
	}
	require.Greater(t, sum/2000, 0.8, "share of the texts' length that lies in it")
}

func TestOpen_RefusesWhatIsNoTable(t *testing.T) {
	file := encoded(t, source(50, 4))
	for name, f := range map[string]string{
		"empty":       "",
		"header only": file[:headerSize],
		"cut":         file[:len(file)-1],
		"longer":      file + "x",
		"other magic": "x" + file[1:],
		"no words":    file[:8] + "\x00\x00\x00\x00" + file[12:],
		"slots":       file[:16] + "\x03\x00\x00\x00" + file[20:],
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Open(f)
			require.ErrorIs(t, err, ErrFormat)
		})
	}
	b := []byte(file)
	b[len(b)-1] ^= 1
	x, err := Open(string(b))
	require.NoError(t, err, "opening does not read the rows")
	require.ErrorIs(t, x.Verify(), ErrFormat)
}

func TestEncode_RefusesBadSources(t *testing.T) {
	s := source(3, 4)
	s.Words[2] = s.Words[0]
	_, err := Encode(s)
	require.ErrorContains(t, err, "twice")
	_, err = Encode(Source{})
	require.Error(t, err)
}
