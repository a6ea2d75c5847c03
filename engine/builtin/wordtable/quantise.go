package wordtable

import "math"

const (
	// poolA is the constant of smooth inverse frequency weighting.
	poolA = 1e-4
	// commonWords is the length of the texts that the common direction is
	// worked out for: a passage of a few sentences.
	commonWords = 64
	// powerSteps is far over what the first direction needs to settle.
	powerSteps = 200
)

// quantised is a source as int8 rows with one scale each. p is a word's share
// of running text by Zipf's law, weight its weight in a mean.
type quantised struct {
	dim              int
	rows             []int8
	scale, weight, p []float64
}

func quantise(s Source) *quantised {
	n, dim := len(s.Words), len(s.Rows[0])
	q := &quantised{dim: dim, rows: make([]int8, n*dim), scale: make([]float64, n), weight: make([]float64, n), p: make([]float64, n)}
	var h float64
	for i := 0; i <= s.Ranks[n-1]; i++ {
		h += 1 / float64(i+2)
	}
	for i := range s.Words {
		var most float64
		for _, v := range s.Rows[i] {
			most = max(most, math.Abs(float64(v)))
		}
		q.p[i] = 1 / (float64(s.Ranks[i]+2) * h)
		q.weight[i] = poolA / (poolA + q.p[i])
		if most == 0 {
			continue
		}
		q.scale[i] = most / 127
		for j, v := range s.Rows[i] {
			q.rows[i*dim+j] = int8(math.Round(float64(v) / q.scale[i]))
		}
	}
	return q
}

// common is the first principal direction (not centred) of the weighted means of
// texts of commonWords words drawn at random by frequency. No text is drawn: with
// x the weighted vector of one draw, the second moment of such a mean is
// ((L-1) E[x] E[x]' + E[x x']) / L. The usual fit to the texts of a corpus would
// make vectors depend on the corpus.
func (q *quantised) common() []float32 {
	d := q.dim
	mean := make([]float64, d)
	m := make([]float64, d*d)
	x := make([]float64, d)
	for i := range q.scale {
		f := q.scale[i] * q.weight[i]
		for j := range x {
			x[j] = float64(q.rows[i*d+j]) * f
			mean[j] += float64(q.p[i] * x[j])
		}
		for j, a := range x {
			pa := q.p[i] * a
			for k, b := range x {
				m[j*d+k] += float64(pa * b)
			}
		}
	}
	for j := range mean {
		for k := range mean {
			m[j*d+k] += float64((commonWords - 1) * float64(mean[j]*mean[k]))
		}
	}
	u := make([]float64, d)
	for j := range u {
		u[j] = 1
	}
	for range powerSteps {
		next := make([]float64, d)
		var norm float64
		for j := range next {
			for k, b := range u {
				next[j] += float64(m[j*d+k] * b)
			}
			norm += float64(next[j] * next[j])
		}
		if norm == 0 {
			break
		}
		norm = math.Sqrt(norm)
		for j := range next {
			next[j] /= norm
		}
		u = next
	}
	out := make([]float32, d)
	for j := range out {
		out[j] = float32(u[j])
	}
	return out
}
