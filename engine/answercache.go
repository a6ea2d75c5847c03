package engine

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/json"
	"sync"

	"alcove/tenancy"
)

// memory is what the server remembers of questions that a model was asked about:
// keywords, rewritten questions and answers, for all knowledge bases together
// and bounded in bytes. What was not used for longest goes first. A nil memory
// remembers nothing. Safe for concurrent use.
type memory struct {
	mu     sync.Mutex
	max    int64
	used   int64
	of     map[memoryKey]*list.Element // of *remembered
	recent list.List                   // last used first
}

// memoryKey is a knowledge base and the SHA-256 of what else a remembered thing
// depends on. Nothing is shared between two: what one tenant asked must not show in
// how fast another is answered.
type memoryKey struct {
	space tenancy.SpaceID
	rest  [32]byte
}

type remembered struct {
	key   memoryKey
	value []byte
}

// rememberedBytes is about what one entry takes beside its value.
const rememberedBytes = 200

func newMemory(maxBytes int64) *memory {
	if maxBytes < 0 {
		return nil
	}
	return &memory{max: maxBytes, of: map[memoryKey]*list.Element{}}
}

// keyOfAll is the key of a kind of thing and what it depends on.
func keyOfAll(kind string, s *tenancy.Space, parts any) memoryKey {
	b, err := json.Marshal(struct {
		Kind  string
		Parts any
	}{kind, parts})
	if err != nil { // every part is a plain struct of ours
		panic("engine: key of a remembered thing: " + err.Error())
	}
	return memoryKey{s.ID(), sha256.Sum256(b)}
}

func (m *memory) get(key memoryKey) ([]byte, bool) {
	if m == nil {
		return nil, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.of[key]
	if e == nil {
		return nil, false
	}
	m.recent.MoveToFront(e)
	return e.Value.(*remembered).value, true
}

// put keeps a value; it must not change afterwards. One that is over a tenth of
// the whole is not kept: it would push out too much.
func (m *memory) put(key memoryKey, value []byte) {
	if m == nil || int64(len(value)) > m.max/10 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.of[key]; e != nil {
		m.drop(e)
	}
	m.of[key] = m.recent.PushFront(&remembered{key, value})
	m.used += int64(len(value)) + rememberedBytes
	for m.used > m.max {
		m.drop(m.recent.Back())
	}
}

func (m *memory) drop(e *list.Element) {
	r := m.recent.Remove(e).(*remembered)
	delete(m.of, r.key)
	m.used -= int64(len(r.value)) + rememberedBytes
}

// forget drops all that belongs to a knowledge base.
func (m *memory) forget(id tenancy.SpaceID) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, e := range m.of {
		if key.space == id {
			m.drop(e)
		}
	}
}

// ForgetAnswers drops what is remembered of questions to this knowledge base.
func (k *KB) ForgetAnswers() { k.eng.memory.forget(k.space.ID()) }

// models are the names of the models that have a say in an answer.
func (a *asking) models() []string {
	set := a.p.set
	out := []string{a.p.embed.Model(), set.answerer(a.r.eng.o.Answerer).Model(), "", ""}
	if set.chat != nil {
		out[2] = set.chat.Model()
	}
	if set.rerank != nil {
		out[3] = set.rerank.Model()
	}
	return out
}

// memory is the server's, or none where the knowledge base wants none.
func (a *asking) memory() *memory {
	if !*a.p.set.EnableLLMCache {
		return nil
	}
	return a.r.eng.memory
}

// answerKey is the key of the answer to a query at a generation of its knowledge
// base, so that no answer outlives a change of the documents.
func (a *asking) answerKey(gen uint64) memoryKey {
	q := a.p.Query
	q.Mode, q.TopK, q.ChunkTopK = a.p.mode, &a.p.topK, &a.p.chunkTopK
	q.MaxEntityTokens, q.MaxRelationTokens, q.MaxTotalTokens = &a.p.entityTokens, &a.p.relationTokens, &a.p.totalTokens
	q.IncludeReferences, q.EnableRerank = &a.p.references, &a.p.rerank
	q.Stream, q.IncludeProgress = nil, false // how it is sent, not what
	return keyOfAll("answer", a.r.space, struct {
		Generation uint64
		Query      Query
		Models     []string
		Settings   tenancy.Config // temperature, thresholds, prompts
	}{gen, q, a.models(), a.p.set.Config})
}

// remembers reports whether the answer may come from memory or go there: a model
// writes it, from retrieval. A caller that wants to see the stages of the work
// gets the work.
func (a *asking) remembers() bool {
	return a.p.set.chat != nil && a.p.mode != ModeBypass && !a.p.OnlyNeedContext && !a.p.OnlyNeedPrompt && !a.p.IncludeProgress
}

// recalled returns the answer that was given to the same query while the
// documents were what they are now.
func (a *asking) recalled(ctx context.Context) (*Answer, error) {
	if a.memory() == nil || !a.remembers() {
		return nil, nil
	}
	var st kbState
	err := a.r.space.View(ctx, func(tx *tenancy.Tx) (err error) {
		st, err = readState(tx)
		return err
	})
	if err != nil {
		return nil, err
	}
	b, ok := a.memory().get(a.answerKey(st.Generation))
	if !ok {
		return nil, nil
	}
	var ans Answer
	if err := json.Unmarshal(b, &ans); err != nil {
		return nil, err
	}
	ans.Metadata.Cached = true
	return &ans, nil
}

// keep remembers a whole answer that nothing was missing for.
func (a *asking) keep(ans *Answer) {
	if a.memory() == nil || !a.remembers() || ans.Degraded || ans.Metadata.RerankFailed {
		return
	}
	b, err := json.Marshal(ans)
	if err != nil { // floats that are not finite: the answer itself will not be encoded either
		return
	}
	a.memory().put(a.answerKey(a.c.gen), b)
}
