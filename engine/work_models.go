package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sync/errgroup"

	"alcove/tenancy"
)

// make takes a group of chunks through the models: what each chunk says, several
// at a time, then vectors in one call.
func (in *ingest) make(ctx context.Context, group []*chunkWork) error {
	if in.known != nil {
		err := in.space.View(ctx, func(tx *tenancy.Tx) error {
			if _, err := stillMine(tx, in.ref, in.v); err != nil {
				return err // the version that is drawn from may be gone too
			}
			for _, w := range group {
				if err := in.known.fill(tx, w, in.same); err != nil {
					return err
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
	if err := in.embed(ctx, group); err != nil {
		return fmt.Errorf("embed: %w", err)
	}
	for _, w := range group {
		in.count(&w.said)
		w.encoded = [2][]byte{w.rec.encode(), w.said.encode()}
	}
	return nil
}

func (in *ingest) count(said *contribution) {
	for _, e := range said.Entities {
		in.entities[print(EntityID(e.Name))] = struct{}{}
	}
	for _, r := range said.Relations {
		a, b := EntityID(r.Source), EntityID(r.Target)
		in.relations[print(min(a, b), max(a, b))] = struct{}{}
	}
}

func (in *ingest) embed(ctx context.Context, group []*chunkWork) error {
	var texts []string
	var into []*chunkWork
	for _, w := range group {
		if w.vector == nil {
			texts = append(texts, w.rec.Text)
			into = append(into, w)
		}
	}
	if len(texts) == 0 {
		return nil
	}
	var vectors [][]float32
	err := in.try(ctx, func() (err error) {
		vectors, err = in.eng.embedTexts(ctx, forWork, texts)
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
	one := func(ctx context.Context, w *chunkWork) error {
		return in.try(ctx, func() error {
			return in.eng.model(ctx, forWork, func() (err error) {
				defer recovered(&err, "extracting")
				x, err := in.eng.o.Extractor.Extract(in.eng.withAnswers(ctx, in.space, in.v), Passage{
					Title: in.title, Heading: w.rec.Heading, Text: w.rec.Text,
				})
				if err == nil {
					w.said, w.extracted = contributionOf(x), true
				}
				return err
			})
		})
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
	var c contribution
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

// try calls f again after a pause while it fails in a way that may pass.
func (in *ingest) try(ctx context.Context, f func() error) error {
	wait := in.eng.o.RetryBase
	for n := 1; ; n++ {
		err := f()
		if err == nil {
			if n > 1 {
				in.eng.queue.trying(in.run, 0, nil)
			}
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, final := range []error{ErrModelMissing, ErrModelRefused, ErrPromptTooLong, ErrNoModel, errSuperseded, errPanicked} {
			if errors.Is(err, final) {
				return err
			}
		}
		if n >= in.eng.o.ChunkAttempts || transient(err) {
			return err
		}
		in.eng.queue.trying(in.run, n, err)
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		wait *= 2
	}
}
