package engine

import (
	"context"
	"strconv"
	"strings"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Query answers a question from this knowledge base. Bad fields are a
// *FieldError; mode bypass without a chat model is ErrNoModel. When the model
// server is down, retrieval still answers: the answer is then extractive and
// marked Degraded.
func (r *Reader) Query(ctx context.Context, q Query) (*Answer, error) {
	return r.ask(ctx, q, nil)
}

// QueryStream answers a question in pieces, in the order that Event gives. An
// error from emit ends the query with that error. What was sent before an
// error stays sent.
func (r *Reader) QueryStream(ctx context.Context, q Query, emit func(Event) error) error {
	_, err := r.ask(ctx, q, emit)
	return err
}

// QueryData runs retrieval alone and returns what it found after ranking and
// cutting; no answer is written.
func (r *Reader) QueryData(ctx context.Context, q Query) (*Data, error) {
	a, err := r.begin(q, nil)
	if err != nil {
		return nil, err
	}
	if a.p.mode == ModeBypass {
		return nil, badField("mode", "bypass retrieves nothing; query it instead")
	}
	if err := a.retrieve(ctx); err != nil {
		return nil, err
	}
	d := &Data{
		Status: "success", Message: "Query executed successfully",
		Metadata: DataMetadata{QueryMode: a.p.mode, Keywords: a.kw, ProcessingInfo: a.c.info, StagesMS: a.st},
	}
	d.Data = DataBody{
		Entities: orEmpty(a.c.entities), Relationships: orEmpty(a.c.relations),
		Chunks: make([]DataChunk, len(a.c.chunks)), References: orEmpty(a.c.references),
	}
	for i, c := range a.c.chunks {
		d.Data.Chunks[i] = DataChunk{
			ReferenceID: a.c.refOf[c.docID], Content: c.Text, FilePath: c.filePath, ChunkID: chunkID(c.docID, c.ord), DocID: c.docID,
			Start: c.Start, End: c.End, Page: c.Page, Heading: c.Heading, Score: c.score, Via: c.via,
		}
	}
	return d, nil
}

func orEmpty[T any](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// asking is one query on its way.
type asking struct {
	r     *Reader
	p     *plan
	kw    Keywords
	c     cited
	st    stages
	start time.Time
	emit  func(Event) error
	down  bool // a model was asked for and could not be reached
}

func (r *Reader) begin(q Query, emit func(Event) error) (*asking, error) {
	p, err := q.plan()
	if err != nil {
		return nil, err
	}
	return &asking{r: r, p: p, st: stages{}, start: time.Now(), emit: emit}, nil
}

func (a *asking) progress(stage string) error {
	if a.emit == nil || !a.p.IncludeProgress {
		return nil
	}
	return a.emit(Event{Progress: stage})
}

// retrieve makes keywords and vectors, searches, and cuts to the budgets.
func (a *asking) retrieve(ctx context.Context) error {
	local, global, _, _ := a.p.wants()
	if err := a.progress("extracting_keywords"); err != nil {
		return err
	}
	t := time.Now()
	if local || global {
		var err error
		if a.kw, err = a.keywords(ctx); err != nil {
			return err
		}
	}
	a.st.since("keywords", t)
	t = time.Now()
	vec, err := a.vectors(ctx)
	if err != nil {
		return err
	}
	a.st.since("embed", t)
	if err := a.progress("retrieving_chunks"); err != nil {
		return err
	}
	ev, err := a.r.retrieve(ctx, a.p, &a.kw, vec, a.st)
	if err != nil {
		return err
	}
	t = time.Now()
	a.c = a.p.cite(ev)
	a.st.since("cut", t)
	return nil
}

// keywords are the caller's, else the chat model's (cached). Without either, or
// when the model is down or answers nonsense, there are none yet: the search
// makes them by rules.
func (a *asking) keywords(ctx context.Context) (Keywords, error) {
	if len(a.p.HLKeywords) > 0 || len(a.p.LLKeywords) > 0 {
		return Keywords{High: orEmpty(a.p.HLKeywords), Low: orEmpty(a.p.LLKeywords)}, nil
	}
	e := a.r.eng
	if e.o.Chatter == nil {
		return Keywords{}, nil
	}
	if kw, ok := e.keywordCache.get(a.p.Query.Query); ok {
		return kw, nil
	}
	var reply ChatReply
	err := e.model(ctx, forQuery, func() (err error) {
		reply, err = e.o.Chatter.Chat(ctx, keywordRequest(a.p.Query.Query), nil)
		return err
	})
	if err != nil {
		if ctx.Err() != nil {
			return Keywords{}, ctx.Err()
		}
		a.down = a.down || modelAway(err)
		e.o.Logger.Warn("keyword step by rules", "error", err)
		return Keywords{}, nil
	}
	kw, ok := parseKeywords(reply.Text)
	if !ok {
		return Keywords{}, nil
	}
	e.keywordCache.put(a.p.Query.Query, kw)
	return kw, nil
}

// vectors embeds what the mode searches for in one call. A model server that
// is down leaves the lexical and graph channels to answer.
func (a *asking) vectors(ctx context.Context) (v searchVectors, _ error) {
	local, global, chunks, _ := a.p.wants()
	e := a.r.eng
	var texts []string
	var into []*[]float32
	want := func(text string, dst *[]float32) {
		if strings.TrimSpace(text) != "" {
			texts, into = append(texts, text), append(into, dst)
		}
	}
	if chunks || local || global {
		want(a.p.Query.Query, &v.query)
	}
	if !e.o.Embedder.Pure() { // profiles have vectors of their own
		// Keywords by rules come too late for this call; the question stands in.
		if local {
			want(joinWords(a.kw.Low, a.p.Query.Query), &v.low)
		}
		if global {
			want(joinWords(a.kw.High, a.p.Query.Query), &v.high)
		}
	}
	if len(texts) == 0 {
		return v, nil
	}
	vecs, err := e.embedTexts(ctx, forQuery, texts)
	if err != nil {
		if modelAway(err) && ctx.Err() == nil {
			a.down = true
			e.o.Logger.Warn("search without vectors", "error", err)
			return searchVectors{}, nil
		}
		return v, err
	}
	for i := range into {
		*into[i] = vecs[i]
	}
	if len(a.kw.Low) == 0 && len(a.kw.High) == 0 {
		v.low, v.high = v.query, v.query // the rules come too late for a vector
	}
	return v, nil
}

// ask runs a whole query; emit is nil when the answer is wanted in one piece.
func (r *Reader) ask(ctx context.Context, q Query, emit func(Event) error) (*Answer, error) {
	a, err := r.begin(q, emit)
	if err != nil {
		return nil, err
	}
	if a.p.mode == ModeBypass && r.eng.o.Chatter == nil {
		return nil, ErrNoModel
	}
	if a.p.mode != ModeBypass {
		if err := a.retrieve(ctx); err != nil {
			return nil, err
		}
	}
	ans := &Answer{References: []Reference{}, LLM: "none"}
	if a.p.references {
		ans.References = orEmpty(a.c.references)
	}
	if emit != nil {
		if err := emit(Event{References: ans.References}); err != nil {
			return nil, err
		}
	}
	if err := a.write(ctx, ans); err != nil {
		return nil, err
	}
	ans.Degraded = a.down
	ans.Metadata = AnswerMetadata{
		Mode: a.p.mode, TopK: a.p.topK, ChunkTopK: a.p.chunkTopK,
		Keywords: Keywords{High: orEmpty(a.kw.High), Low: orEmpty(a.kw.Low)}, Generation: a.c.gen, StagesMS: a.st,
		ProcessingTimeMS: float64(time.Since(a.start).Microseconds()) / 1000,
		PromptTokens:     ans.Metadata.PromptTokens, ReplyTokens: ans.Metadata.ReplyTokens,
	}
	if emit != nil {
		return ans, emit(Event{Done: true, LLM: ans.LLM, Degraded: ans.Degraded, Metadata: &ans.Metadata})
	}
	return ans, nil
}

// write puts the text of the answer into ans, through emit when there is one.
func (a *asking) write(ctx context.Context, ans *Answer) error {
	evidence, prompt := "", ""
	if a.p.mode != ModeBypass {
		evidence = a.c.context()
		prompt = buildPrompt(evidence, a.p.ResponseType, a.p.UserPrompt)
	}
	var onDelta func(string) error
	streamed := false
	if a.emit != nil {
		onDelta = func(s string) error {
			streamed = true
			return a.emit(Event{Response: s})
		}
	}
	whole := func(s string) error {
		ans.Response = s
		if onDelta != nil {
			return onDelta(s)
		}
		return nil
	}
	switch {
	case a.p.OnlyNeedContext:
		return whole(evidence)
	case a.p.OnlyNeedPrompt:
		return whole(prompt + "\n\n---User Query---\n" + a.p.Query.Query)
	}
	if err := a.progress("generating_response"); err != nil {
		return err
	}
	t := time.Now()
	defer a.st.since("answer", t)
	req := AnswerRequest{
		Query: a.p.Query.Query, ResponseType: a.p.ResponseType, UserPrompt: a.p.UserPrompt, History: a.p.History,
		Context: evidence, Prompt: prompt,
	}
	for _, c := range a.c.chunks {
		req.Chunks = append(req.Chunks, EvidenceChunk{
			ReferenceID: a.c.refOf[c.docID], FilePath: c.filePath, Title: c.title, Text: c.Text, Score: c.score,
		})
	}
	e := a.r.eng
	writer := e.o.Answerer
	var reply AnswerReply
	answer := func() (err error) {
		reply, err = writer.Answer(ctx, req, onDelta)
		return err
	}
	var err error
	if e.o.Chatter == nil {
		err = answer()
	} else {
		err = e.model(ctx, forQuery, answer)
	}
	if modelAway(err) && !streamed && ctx.Err() == nil && e.o.Fallback != nil && a.p.mode != ModeBypass {
		// Retrieval still answers. A reply that broke off in the middle is an
		// error instead: what was streamed cannot be taken back.
		a.down = true
		e.o.Logger.Warn("extractive answer", "error", err)
		writer = e.o.Fallback
		err = answer()
	}
	if err != nil {
		return err
	}
	ans.Response, ans.LLM = reply.Text, writer.Model()
	ans.Metadata.PromptTokens, ans.Metadata.ReplyTokens = reply.PromptTokens, reply.ReplyTokens
	return nil
}
