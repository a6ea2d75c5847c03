package engine

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// maxRerankParts bounds the parts of one chunk that are scored: what lies behind
// them has no say.
const maxRerankParts = 8

// rerank puts the chunks that were merged into the order of the reranker, where
// LightRAG does, and cuts them to chunk_top_k. Of a chunk that is longer than the
// reranker reads at once the best part counts. Chunks that were not scored stay
// behind the others in their order; those under min_rerank_score go. A reranker that
// fails changes nothing, and the metadata say so. No lock is held.
func (a *asking) rerank(ctx context.Context, chunks []foundChunk) ([]foundChunk, error) {
	e := a.r.eng
	if !a.p.rerank || len(chunks) == 0 {
		return firstN(chunks, a.p.chunkTopK), nil
	}
	if err := a.progress("reranking"); err != nil {
		return nil, err
	}
	defer a.st.since("rerank", time.Now())
	var texts []string
	var of []int // chunk of each text
	for i, c := range firstN(chunks, e.o.RerankChunks) {
		for _, part := range rerankParts(c.Text, c.Tokens, e.o.RerankTokens) {
			texts, of = append(texts, part), append(of, i)
		}
	}
	var reply RerankReply
	err := e.model(ctx, forQuery, func() (err error) {
		defer recovered(&err, "reranking")
		reply, err = a.p.set.rerank.Rerank(ctx, a.p.asked, texts)
		if err == nil {
			err = checkScores(a.p.set.rerank.Model(), reply.Scores, len(texts))
		}
		return err
	})
	if err != nil {
		a.rerankFailed = true
		return firstN(chunks, a.p.chunkTopK), a.without(ctx, "order of the search", err)
	}
	a.count("rerank", reply.PromptTokens, reply.ReplyTokens)
	out := slices.Clone(chunks)
	for i, s := range reply.Scores {
		if c := &out[of[i]]; c.reranked == nil || *c.reranked < s {
			c.reranked = &s
		}
	}
	slices.SortStableFunc(out, func(x, y foundChunk) int {
		switch {
		case x.reranked == nil && y.reranked == nil:
			return 0
		case x.reranked == nil:
			return 1
		case y.reranked == nil:
			return -1
		}
		return cmp.Compare(*y.reranked, *x.reranked)
	})
	if a.trace != nil {
		a.reranked = map[string]ItemStage{}
		for i := range out {
			if s := out[i].reranked; s != nil {
				a.reranked[out[i].id()] = ItemStage{"rerank", i + 1, *s}
			}
		}
	}
	if least := *a.p.set.MinRerankScore; least > 0 {
		out = slices.DeleteFunc(out, func(c foundChunk) bool {
			low := c.reranked != nil && *c.reranked < least
			if low {
				a.cutBy(&c, cutRerank)
			}
			return low
		})
	}
	return firstN(out, a.p.chunkTopK), nil
}

// rerankParts cuts a text into parts of at most n tokens.
func rerankParts(text string, tokens, n int) []string {
	if tokens <= n {
		return []string{text}
	}
	var out []string
	for text != "" && len(out) < maxRerankParts {
		part := cutTokens(text, n)
		if part == "" { // one sign of more tokens than a part
			break
		}
		out, text = append(out, part), text[len(part):]
	}
	if len(out) == 0 {
		return []string{text}
	}
	return out
}

// checkScores holds a reranker to its promise.
func checkScores(from string, scores []float64, texts int) error {
	if len(scores) == 0 || len(scores) > texts {
		return fmt.Errorf("%w: %s: %d scores for %d texts", ErrModelDown, from, len(scores), texts)
	}
	for i, s := range scores {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return fmt.Errorf("%w: %s: score %d is not finite", ErrModelDown, from, i)
		}
	}
	return nil
}

// without notes that a step was done without its model and returns the context's
// own error, which is no fault of the model's.
func (a *asking) without(ctx context.Context, instead string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.down = a.down || modelAway(err)
	a.r.eng.o.Logger.WarnContext(ctx, instead, "error", err)
	return nil
}
