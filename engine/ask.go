package engine

import (
	"context"
	"encoding/json"
	"fmt"
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
	ctx = paidBy(ctx, r.space)
	a, err := r.begin(ctx, q, nil)
	if err != nil {
		return nil, err
	}
	if a.p.mode == ModeBypass {
		return nil, badField("mode", "bypass retrieves nothing; query it instead")
	}
	if err := a.retrieve(ctx); err != nil {
		return nil, err
	}
	d := &Data{Status: "success", Message: "Query executed successfully", Metadata: a.dataMetadata()}
	d.Data = DataBody{
		Entities: orEmpty(a.c.entities), Relationships: orEmpty(a.c.relations),
		Chunks: make([]DataChunk, len(a.c.chunks)), References: orEmpty(a.c.references),
	}
	for i, c := range a.c.chunks {
		d.Data.Chunks[i] = DataChunk{
			ReferenceID: a.c.refOf[c.docID], Content: c.Text, FilePath: c.filePath, ChunkID: chunkID(c.docID, c.ord), DocID: c.docID,
			Start: c.Start, End: c.End, Place: c.Place, Heading: c.Heading, Score: c.score, RerankScore: c.reranked, Via: c.via,
		}
	}
	return d, nil
}

func (a *asking) dataMetadata() DataMetadata {
	return DataMetadata{
		QueryMode: a.p.mode, Keywords: a.kw, RewrittenQuery: a.rewritten, Rerank: a.rerankedBy(), RerankFailed: a.rerankFailed,
		ProcessingInfo: a.c.info, StagesMS: a.st, Tokens: a.tokens, Degraded: a.down, DegradedReason: a.reason(),
	}
}

// reason is why an answer is less than it could be, "" when it is not.
func (a *asking) reason() string {
	switch {
	case a.blind:
		return "the embedding model of the knowledge base is being changed: the search went without vectors"
	case a.down:
		return "a model is not available"
	}
	return ""
}

// rerankedBy is the name of the reranker that the order of the chunks is from.
func (a *asking) rerankedBy() string {
	if !a.p.rerank || a.rerankFailed || a.p.mode == ModeBypass {
		return ""
	}
	return a.p.set.rerank.Model()
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
	blind bool // the search went without vectors: they are being replaced

	rewritten    string // the question that was searched for, when it is another one
	rerankFailed bool
	tokens       map[string]TokenCount

	// Of an explanation alone.
	trace    *trace
	reranked map[string]ItemStage // by chunk id
	cut      map[string]string    // what cut a chunk, by its id
}

func (r *Reader) begin(ctx context.Context, q Query, emit func(Event) error) (*asking, error) {
	set, err := r.eng.settings(ctx, r.space)
	if err != nil {
		return nil, err
	}
	set.fill(&q)
	p, err := q.plan()
	if err != nil {
		return nil, err
	}
	p.set, p.prompts = set, set.Prompts
	if p.embed, err = r.eng.embedderOf(ctx, r.space, set.embed); err != nil {
		return nil, err
	}
	p.least = set.least(p.embed)
	p.rerank = p.rerank && set.rerank != nil
	if p.html && r.eng.o.HTML == nil {
		return nil, badField("response_format", "html is not made by this server")
	}
	return &asking{r: r, p: p, st: stages{}, start: time.Now(), emit: emit}, nil
}

// count notes the tokens of a model call of a stage.
func (a *asking) count(stage string, prompt, reply int) {
	if prompt == 0 && reply == 0 {
		return // the server does not tell
	}
	a.r.space.SpendTokens(int64(prompt + reply))
	if a.tokens == nil {
		a.tokens = map[string]TokenCount{}
	}
	t := a.tokens[stage]
	a.tokens[stage] = TokenCount{t.Prompt + prompt, t.Reply + reply}
}

// cutBy notes what cut a chunk.
func (a *asking) cutBy(c *foundChunk, by string) {
	if a.trace == nil {
		return
	}
	if a.cut == nil {
		a.cut = map[string]string{}
	}
	a.cut[c.id()] = by
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
	if err := a.standalone(ctx); err != nil {
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
	p := a.p
	if p.rerank { // the reranker chooses among more
		wide := *p
		wide.chunkTopK = max(p.chunkTopK, a.r.eng.o.RerankChunks)
		p = &wide
	}
	ev, err := a.r.retrieve(ctx, p, &a.kw, vec, a.st, a.trace)
	if err != nil {
		return err
	}
	a.down, a.blind = a.down || ev.blind, ev.blind
	if ev.chunks, err = a.rerank(ctx, ev.chunks); err != nil {
		return err
	}
	t = time.Now()
	a.c = a.p.cite(ev)
	for i := len(a.c.chunks); i < len(ev.chunks); i++ {
		a.cutBy(&ev.chunks[i], cutBudget)
	}
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
	if a.p.set.chat == nil || e.o.NoKeywordCall {
		return Keywords{}, nil
	}
	request := a.p.prompts.keywordRequest(a.p.asked)
	key := keyOfAll("keywords", a.r.space, [3]string{a.p.set.chat.Model(), a.p.asked, request.System})
	if b, ok := a.memory().get(key); ok {
		var kw Keywords
		return kw, json.Unmarshal(b, &kw)
	}
	var reply ChatReply
	err := e.model(ctx, forQuery, func() (err error) {
		reply, err = chatJSON(ctx, a.p.set.chat, request)
		return err
	})
	if err != nil {
		return Keywords{}, a.without(ctx, "keyword step by rules", err)
	}
	a.count("keywords", reply.PromptTokens, reply.ReplyTokens)
	kw, ok := parseKeywords(reply.Text)
	if !ok {
		return Keywords{}, nil
	}
	if b, err := json.Marshal(kw); err == nil {
		a.memory().put(key, b)
	}
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
		want(a.p.asked, &v.query)
	}
	if !a.p.embed.Pure() { // profiles have vectors of their own
		// Keywords by rules come too late for this call; the question stands in.
		if local {
			want(joinWords(a.kw.Low, a.p.asked), &v.low)
		}
		if global {
			want(joinWords(a.kw.High, a.p.asked), &v.high)
		}
	}
	if len(texts) == 0 {
		return v, nil
	}
	vecs, err := e.embedTexts(ctx, a.p.embed, forQuery, texts)
	if err != nil {
		if modelAway(err) && ctx.Err() == nil {
			a.down = true
			e.o.Logger.WarnContext(ctx, "search without vectors", "error", err)
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
	ctx = paidBy(ctx, r.space)
	a, err := r.begin(ctx, q, emit)
	if err != nil {
		return nil, err
	}
	if a.p.mode == ModeBypass && a.p.set.chat == nil {
		return nil, ErrNoModel
	}
	ans, err := a.recalled(ctx)
	if err != nil {
		return nil, err
	}
	if ans != nil {
		a.st.since("memory", a.start)
		ans.Metadata.StagesMS, ans.Metadata.ProcessingTimeMS = a.st, millis(a.start)
		return ans, a.sendWhole(ans)
	}
	if a.p.mode != ModeBypass {
		if err := a.retrieve(ctx); err != nil {
			return nil, err
		}
	}
	ans = &Answer{References: []Reference{}, LLM: "none"}
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
	m := &ans.Metadata
	m.Mode, m.TopK, m.ChunkTopK, m.Generation = a.p.mode, a.p.topK, a.p.chunkTopK, a.c.gen
	m.Keywords = Keywords{High: orEmpty(a.kw.High), Low: orEmpty(a.kw.Low)}
	m.DegradedReason = a.reason()
	m.RewrittenQuery, m.Rerank, m.RerankFailed = a.rewritten, a.rerankedBy(), a.rerankFailed
	m.StagesMS, m.Tokens, m.ProcessingTimeMS = a.st, a.tokens, millis(a.start)
	a.keep(ans)
	if emit != nil {
		return ans, emit(Event{Done: true, LLM: ans.LLM, Degraded: ans.Degraded, Metadata: &ans.Metadata})
	}
	return ans, nil
}

func millis(since time.Time) float64 { return float64(time.Since(since).Microseconds()) / 1000 }

// sendWhole streams an answer that is there already.
func (a *asking) sendWhole(ans *Answer) error {
	if a.emit == nil {
		return nil
	}
	for _, e := range []Event{
		{References: ans.References}, {Response: ans.Response},
		{Done: true, LLM: ans.LLM, Degraded: ans.Degraded, Metadata: &ans.Metadata},
	} {
		if err := a.emit(e); err != nil {
			return err
		}
	}
	return nil
}

// write puts the text of the answer into ans, through emit when there is one.
func (a *asking) write(ctx context.Context, ans *Answer) error {
	evidence, prompt := "", ""
	if a.p.mode != ModeBypass {
		evidence = a.c.context()
		prompt = a.p.prompts.answer(evidence, a.p.ResponseType, a.p.UserPrompt)
	}
	whole := func(s string) error {
		ans.Response = s
		if a.emit != nil {
			return a.emit(Event{Response: s})
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
	writer := a.p.set.answerer(e.o.Answerer)
	var reply AnswerReply
	streamed := false
	answer := func() (err error) {
		if a.emit == nil || a.p.html { // HTML is made of the whole
			reply, err = writer.Answer(ctx, req, nil)
			return err
		}
		clean := newMarkdownFilter(func(s string) error {
			streamed = true
			return a.emit(Event{Response: s})
		})
		if reply, err = writer.Answer(ctx, req, clean.write); err == nil {
			err = clean.close()
		}
		return err
	}
	var err error
	if a.p.set.chat == nil {
		req.Query = a.p.asked // it quotes what speaks to the question and knows no conversation
		err = answer()
	} else {
		err = e.model(ctx, forQuery, answer)
	}
	if modelAway(err) && !streamed && ctx.Err() == nil && e.o.Fallback != nil && a.p.mode != ModeBypass {
		// Retrieval still answers. A reply that broke off in the middle is an
		// error instead: what was streamed cannot be taken back.
		a.down = true
		e.o.Logger.WarnContext(ctx, "extractive answer", "error", err)
		writer, req.Query = e.o.Fallback, a.p.asked
		err = answer()
	}
	if err != nil {
		return err
	}
	a.count("answer", reply.PromptTokens, reply.ReplyTokens)
	ans.Response, ans.LLM = cleanMarkdown(reply.Text), writer.Model()
	m := &ans.Metadata
	m.PromptTokens, m.ReplyTokens, m.CitationsDropped = reply.PromptTokens, reply.ReplyTokens, reply.CitationsDropped
	if !a.p.html {
		return nil
	}
	page, err := e.o.HTML(ans.Response)
	if err != nil {
		return fmt.Errorf("answer as HTML: %w", err)
	}
	return whole(page)
}
