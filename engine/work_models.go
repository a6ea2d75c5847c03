package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"alcove/tenancy"
)

// make takes a group of chunks through the models: what each chunk says, several
// at a time, then vectors in one call.
func (in *ingest) make(ctx context.Context, group []*chunkWork) error {
	in.eng.queue.embedded(in.run, false)
	if in.known != nil || in.retries(group) {
		err := in.space.View(ctx, func(tx *tenancy.Tx) error {
			if _, err := stillMine(tx, in.ref, in.v); err != nil {
				return err // the version that is drawn from may be gone too
			}
			for _, w := range group {
				if w.again { // what failed was the reading: the vector is there
					b, err := tx.Get(in.vectors, in.v.key(w.ord))
					if err != nil {
						return fmt.Errorf("vector of chunk %d: %w", w.ord, err)
					}
					w.vector = bytes.Clone(b)
				} else if in.known != nil {
					if err := in.known.fill(tx, w, in.same); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	// Answers are stored one by one, vectors with the group: whoever is
	// interrupted has lost no vectors while it still extracts.
	if err := in.extract(ctx, group); err != nil {
		return fmt.Errorf("extract: %w", err)
	}
	for _, w := range group {
		in.tally.add(w.ord, &w.said)
		if w.fault != nil && in.tally.fault == nil {
			in.tally.fault = w.fault
			in.eng.o.Logger.WarnContext(ctx, "a chunk could not be read", in.logged(w.fault, "chunk", w.ord)...)
		}
	}
	if in.tally.read == 0 && in.tally.FailedChunks >= hopeless && !in.mend {
		return in.nothingRead()
	}
	if err := in.embed(ctx, group); err != nil {
		return fmt.Errorf("embed: %w", err)
	}
	in.eng.queue.embedded(in.run, true)
	for _, w := range group {
		w.encoded = [2][]byte{w.rec.encode(), w.said.encode()}
	}
	return nil
}

func (in *ingest) retries(group []*chunkWork) bool {
	return slices.ContainsFunc(group, func(w *chunkWork) bool { return w.again })
}

func (in *ingest) embed(ctx context.Context, group []*chunkWork) error {
	var texts []string
	var into []*chunkWork
	in.bring(group)
	for _, w := range group {
		if w.vector == nil {
			texts = append(texts, w.rec.Text)
			into = append(into, w)
		}
	}
	if len(texts) == 0 {
		return nil
	}
	if in.eng.o.Offline && !in.embedder.Pure() {
		return errLeft
	}
	var vectors [][]float32
	err := in.try(ctx, &in.eng.embedded, nil, func() (err error) {
		vectors, err = in.eng.embedShared(ctx, in.embedder, texts, in.set.batch(in.eng.o.EmbedBatch), in.eng.queue.toEmbed())
		return err
	})
	if err != nil {
		return err
	}
	for i, w := range into {
		w.vector = encodeVector(vectors[i])
	}
	return nil
}

func (in *ingest) extract(ctx context.Context, group []*chunkWork) error {
	if in.given != nil {
		for _, w := range group {
			w.said, w.extracted = in.given[w.ord], true
		}
		return nil
	}
	one := func(ctx context.Context, w *chunkWork) error {
		err := in.try(ctx, &in.eng.extracted, in.chatterAnswers, func() error {
			return in.eng.model(ctx, forWork, func() (err error) {
				defer recovered(&err, "extracting")
				x, err := in.extractor.Extract(in.eng.withAnswers(ctx, in.space, in.v), Passage{
					Title: in.title, Heading: w.rec.Heading, Text: w.rec.Text,
				})
				if err == nil {
					w.said, w.extracted = contributionOf(x), true
				}
				return err
			})
		})
		if err != nil && !ofDocument(ctx, err) {
			w.said, w.extracted, w.fault = contribution{Failed: shorten(cause(err), maxChunkCauseBytes)}, true, err
			return nil
		}
		return err
	}
	if len(group) == 1 {
		if group[0].extracted {
			return nil
		}
		return one(ctx, group[0])
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(in.eng.o.ModelConcurrency)
	for _, w := range group {
		if !w.extracted {
			g.Go(func() error { return one(ctx, w) })
		}
	}
	return g.Wait()
}

// contributionOf keeps of an extraction what is fit to be stored: texts valid and
// bounded, weights positive and finite. What is over the bound of a record is
// left out from the end.
func contributionOf(x Extraction) contribution {
	c := contribution{Dropped: max(0, x.Dropped), Truncated: x.Truncated}
	for _, e := range x.Entities {
		c.Entities = append(c.Entities, EntityMention{
			Name: clip(e.Name, maxMentionName), Type: clip(e.Type, maxMentionName), Description: clip(e.Description, maxMentionBytes),
		})
	}
	for _, r := range x.Relations {
		if !(r.Weight > 0) || math.IsInf(r.Weight, 0) {
			r.Weight = 1
		}
		c.Relations = append(c.Relations, RelationMention{
			Source: clip(r.Source, maxMentionName), Target: clip(r.Target, maxMentionName),
			Keywords: clip(r.Keywords, maxMentionName), Description: clip(r.Description, maxMentionBytes), Weight: r.Weight,
		})
	}
	for len(c.encode()) > maxContributionSize {
		if len(c.Relations) > 0 {
			c.Relations = c.Relations[:len(c.Relations)/2]
		} else {
			c.Entities = c.Entities[:len(c.Entities)/2]
		}
	}
	return c
}

// errAway marks what a model server did not do because it is away, as far as can
// be told: not the fault of the text that was sent.
var errAway = errors.New("given up waiting")

// ofDocument reports whether an error of reading one chunk is not that chunk's:
// the next one would meet it as well, or nobody wants either any more.
func ofDocument(ctx context.Context, err error) bool {
	if ctx.Err() != nil || transient(err) {
		return true
	}
	for _, x := range []error{errSuperseded, errAway, ErrModelMissing, ErrNoModel, ErrDamaged, tenancy.ErrDamaged, tenancy.ErrDenied, tenancy.ErrTooBig, tenancy.ErrQuota} {
		if errors.Is(err, x) {
			return true
		}
	}
	return false
}

// hopeless is how many chunks of a document may fail before any is read: then the
// model, and not the text, is at fault.
const hopeless = 32

// maxAwayWait bounds the wait between two tries of a server that is away.
const maxAwayWait = 30 * time.Second

// try calls f again after a pause while it fails in a way that may pass. done
// counts what the server of f has done for anybody. While it does nothing at
// all it is taken to be away and waited for longer, see Options.AwayAttempts:
// unless it answers to a question about nothing, which is what answers asks when
// it is not nil.
func (in *ingest) try(ctx context.Context, done *atomic.Int64, answers func(context.Context) bool, f func() error) error {
	wait, before := in.eng.o.RetryBase, done.Load()
	for n := 1; ; n++ {
		err := f()
		if err == nil {
			done.Add(1)
			if n > 1 {
				in.eng.queue.trying(in.run, 0, nil)
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, final := range []error{ErrModelMissing, ErrModelRefused, ErrPromptTooLong, ErrNoModel, errSuperseded, errPanicked, tenancy.ErrQuota} {
			if errors.Is(err, final) {
				return err
			}
		}
		if transient(err) {
			return err
		}
		if n >= in.eng.o.ChunkAttempts {
			switch {
			case !errors.Is(err, ErrModelDown), done.Load() != before:
				return err
			case n == in.eng.o.ChunkAttempts && answers != nil && answers(ctx):
				return err
			case n >= in.eng.o.AwayAttempts:
				return fmt.Errorf("%w: %w", errAway, err)
			}
		}
		in.eng.queue.trying(in.run, n, err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		wait = min(2*wait, maxAwayWait)
	}
}

// chatterAnswers reports whether the language model answers to something that
// cannot be too much for it.
func (in *ingest) chatterAnswers(ctx context.Context) bool {
	if in.set.chat == nil {
		return false
	}
	return in.eng.model(ctx, forWork, func() (err error) {
		defer recovered(&err, "asking the model whether it is there")
		_, err = in.set.chat.Chat(ctx, ChatRequest{Messages: []Message{{Role: "user", Content: "Say yes."}}, MaxTokens: 8}, nil)
		return err
	}) == nil
}
