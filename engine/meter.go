package engine

import (
	"sync/atomic"
	"time"
)

// durationBounds are the upper bounds of a Durations' buckets: a document takes
// milliseconds with what is built in and minutes with a model.
var durationBounds = [...]time.Duration{
	5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, time.Second,
	2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute,
}

// durations counts how long something took, in plain atomics that a collector reads.
type durations struct {
	counts [len(durationBounds) + 1]atomic.Int64
	nanos  atomic.Int64
}

func (d *durations) observe(took time.Duration) {
	i := 0
	for i < len(durationBounds) && took > durationBounds[i] {
		i++
	}
	d.counts[i].Add(1)
	d.nanos.Add(int64(took))
}

// Durations says how often something took how long since the start.
type Durations struct {
	Count   uint64
	Sum     time.Duration
	Buckets map[float64]uint64 // upper bound in seconds -> how many took at most that
}

func (d *durations) read() Durations {
	out := Durations{Sum: time.Duration(d.nanos.Load()), Buckets: make(map[float64]uint64, len(durationBounds))}
	for i := range d.counts {
		out.Count += uint64(d.counts[i].Load())
		if i < len(durationBounds) {
			out.Buckets[durationBounds[i].Seconds()] = out.Count
		}
	}
	return out
}

// meter is what an Engine times.
type meter struct {
	documents, models, embeddings durations
	modelErrors                   atomic.Int64
}

// Times says how long documents, calls of model servers (waiting for a place left out) and embeddings took.
type Times struct {
	Documents   Durations // from a worker's taking a document up to its being visible
	Models      Durations // every call of a model server, embeddings among them
	Embeddings  Durations // every call of the embedder, built in or not
	ModelErrors int64     // of Models
}

// Times reads the meters; it waits for nothing.
func (e *Engine) Times() Times {
	return Times{e.meter.documents.read(), e.meter.models.read(), e.meter.embeddings.read(), e.meter.modelErrors.Load()}
}
