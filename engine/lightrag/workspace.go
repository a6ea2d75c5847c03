package lightrag

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Workspace is what the files of one workspace hold, as far as it is needed.
type Workspace struct {
	Name      string
	Documents map[string]*Document // by LightRAG's id
	Chunks    map[string]*Chunk    // by LightRAG's id
	Graph     *Graph               // nil when there is no file of it
	// EntityChunks and PairChunks name the chunks behind an entity or a pair beyond
	// what the graph lists, which is cut at some hundred.
	EntityChunks map[string][]string
	PairChunks   map[[2]string][]string

	Dim     int   // of the chunk vectors, 0 when there are none
	Files   Files // what was read
	Answers int   // extraction answers that were kept
	Notes   []string
}

// Files counts the records of the files of a workspace; -1 is a file that is not there.
type Files struct {
	Documents     int `json:"full_docs"`
	Chunks        int `json:"text_chunks"`
	Statuses      int `json:"doc_status"`
	Answers       int `json:"llm_response_cache"`
	ChunkVectors  int `json:"vdb_chunks"`
	EntityVectors int `json:"vdb_entities"`
	PairVectors   int `json:"vdb_relationships"`
	Nodes         int `json:"graph_nodes"`
	Edges         int `json:"graph_edges"`
	OfEntities    int `json:"full_entities"` // names, of all documents
	OfRelations   int `json:"full_relations"`
}

// Document is what is known of one document.
type Document struct {
	Text     string // "" when the file of texts has none
	FilePath string
	Status   string // LightRAG's, in lower case; "" when there is no row of it
	TrackID  string
	Created  time.Time // zero when nothing says
	Metadata map[string]any
	Error    string
}

// Chunk is one chunk, as it was cut.
type Chunk struct {
	ID, Text, DocID, FilePath string
	Order                     int
	Replies                   []string // the model's answers to it, first the extraction, then what it had missed
	Vector                    []float32

	cached  []string // keys of its answers
	replies []reply
}

type reply struct {
	key  string
	at   float64
	text string
}

// stamp is a time as LightRAG's versions write it: an ISO 8601 text or seconds.
type stamp struct{ time.Time }

// UnmarshalJSON never fails: a time that cannot be read is none.
func (s *stamp) UnmarshalJSON(b []byte) error {
	var text string
	var secs float64
	if json.Unmarshal(b, &secs) == nil {
		if secs > 0 && secs < 1e11 {
			s.Time = time.Unix(int64(secs), 0).UTC()
		}
		return nil
	}
	if json.Unmarshal(b, &text) != nil {
		return nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999"} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() > 1970 && t.Year() < 2200 {
			s.Time = t.UTC()
			return nil
		}
	}
	return nil
}

// list is a list of texts, or one in Python's or JSON's notation inside a text.
type list []string

// UnmarshalJSON reads either; anything else is no list.
func (l *list) UnmarshalJSON(b []byte) error {
	var plain []string
	if json.Unmarshal(b, &plain) == nil {
		*l = plain
		return nil
	}
	var text string
	if json.Unmarshal(b, &text) == nil {
		for x := range strings.SplitSeq(strings.Trim(strings.TrimSpace(text), "[]"), ",") {
			if x = strings.Trim(strings.TrimSpace(x), `'"`); x != "" {
				*l = append(*l, x)
			}
		}
	}
	return nil
}

// Read reads a workspace into memory: its texts, chunks, extraction answers, chunk
// vectors and graph. A *Fault says which file is wrong and where.
func (f *Folder) Read(ctx context.Context, workspace string) (*Workspace, error) {
	w := &Workspace{Name: workspace, Documents: map[string]*Document{}, Chunks: map[string]*Chunk{},
		EntityChunks: map[string][]string{}, PairChunks: map[[2]string][]string{}}
	n := &w.Files
	steps := []struct {
		file  string
		count *int
		read  func(file string, r io.Reader) error
	}{
		{fileDocs, &n.Documents, w.readDocuments(f.limits)},
		{fileStatus, &n.Statuses, w.readStatuses(f.limits)},
		{fileChunks, &n.Chunks, w.readChunks(f.limits)},
		{vectorsChunks, &n.ChunkVectors, w.readChunkVectors(f.limits)},
		{fileAnswers, &n.Answers, w.readAnswers(f.limits)},
		{fileGraph, &n.Nodes, w.readGraph(f.limits)},
		{fileOfEntity, new(int), w.readSources(f.limits, func(key string, ids []string) { w.EntityChunks[key] = ids })},
		{fileOfPair, new(int), w.readSources(f.limits, func(key string, ids []string) {
			if a, b, ok := strings.Cut(key, fieldSep); ok {
				w.PairChunks[pair(a, b)] = ids
			}
		})},
		{fileEntities, &n.OfEntities, countRows(f.limits, &n.OfEntities)},
		{fileRelations, &n.OfRelations, countRows(f.limits, &n.OfRelations)},
		{vectorsEntity, &n.EntityVectors, countVectors(f.limits, &n.EntityVectors)},
		{vectorsPair, &n.PairVectors, countVectors(f.limits, &n.PairVectors)},
	}
	for _, s := range steps {
		file := path.Join(workspace, s.file)
		err := f.open(file, func(r io.Reader, _ int64) error { return s.read(file, &cancelled{ctx, r}) })
		if errors.Is(err, fs.ErrNotExist) {
			*s.count = -1
			err = nil
		}
		if err != nil {
			return nil, err
		}
	}
	if w.Graph == nil {
		n.Edges = -1
	}
	w.settle()
	return w, nil
}

// plain is a text without the zero bytes that no text here may hold.
func plain(s string) string { return strings.ReplaceAll(s, "\x00", " ") }

func (w *Workspace) doc(id string) *Document {
	d := w.Documents[id]
	if d == nil {
		d = &Document{}
		w.Documents[id] = d
	}
	return d
}

func (w *Workspace) readDocuments(l Limits) func(string, io.Reader) error {
	return func(file string, r io.Reader) error {
		return records(file, r, l, func(id string, v struct {
			Content  string `json:"content"`
			FilePath string `json:"file_path"`
			Created  stamp  `json:"create_time"`
		}) error {
			w.Files.Documents++
			d := w.doc(id)
			d.Text, d.FilePath, d.Created = plain(v.Content), v.FilePath, v.Created.Time
			return nil
		})
	}
}

func (w *Workspace) readStatuses(l Limits) func(string, io.Reader) error {
	return func(file string, r io.Reader) error {
		return records(file, r, l, func(id string, v struct {
			Status   string          `json:"status"`
			FilePath string          `json:"file_path"`
			TrackID  string          `json:"track_id"`
			Created  stamp           `json:"created_at"`
			Metadata json.RawMessage `json:"metadata"`
			Error    string          `json:"error_msg"`
		}) error {
			w.Files.Statuses++
			d := w.doc(id)
			d.Status, d.TrackID, d.Error = strings.ToLower(v.Status), v.TrackID, v.Error
			d.FilePath = cmp.Or(v.FilePath, d.FilePath)
			if !v.Created.IsZero() {
				d.Created = v.Created.Time
			}
			_ = json.Unmarshal(v.Metadata, &d.Metadata) // anything but an object is none
			return nil
		})
	}
}

func (w *Workspace) readChunks(l Limits) func(string, io.Reader) error {
	return func(file string, r io.Reader) error {
		return records(file, r, l, func(id string, v struct {
			Content  string `json:"content"`
			DocID    string `json:"full_doc_id"`
			FilePath string `json:"file_path"`
			Order    int    `json:"chunk_order_index"`
			Cached   list   `json:"llm_cache_list"`
		}) error {
			w.Files.Chunks++
			w.Chunks[id] = &Chunk{ID: id, Text: plain(v.Content), DocID: v.DocID, FilePath: v.FilePath, Order: v.Order, cached: v.Cached}
			return nil
		})
	}
}

// readChunkVectors reads the vectors of the chunks and, where there is no file of
// chunks, the chunks: their order is then that of the rows.
func (w *Workspace) readChunkVectors(l Limits) func(string, io.Reader) error {
	return func(file string, r io.Reader) error {
		v, err := readVectors(file, r, l)
		if err != nil {
			return err
		}
		w.Files.ChunkVectors, w.Dim = len(v.rows), v.dim
		alone := w.Files.Chunks < 0
		useless, strange := 0, 0
		for i := range v.rows {
			row := &v.rows[i]
			c := w.Chunks[row.ID]
			if c == nil && alone {
				c = &Chunk{ID: row.ID, Text: plain(row.Content), DocID: row.DocID, FilePath: row.FilePath, Order: i}
				if row.Order != nil {
					c.Order = *row.Order
				}
				w.Chunks[row.ID] = c
			}
			switch {
			case c == nil || !alone && row.Content != "" && strings.TrimSpace(row.Content) != strings.TrimSpace(c.Text):
				strange++ // of a chunk that is gone, or was another text
			case usable(row.vector) != nil:
				useless++
			default:
				c.Vector = row.vector
			}
		}
		if v.compressed && len(v.rows) > 0 {
			w.note("%s has no matrix that fits its rows: vectors are those of the rows, of half the precision", vectorsChunks)
		}
		if useless > 0 {
			w.note("%d chunk vectors are %v", useless, errUseless)
		}
		if strange > 0 {
			w.note("%d chunk vectors are of no chunk that is there, or of another text", strange)
		}
		return nil
	}
}

// maxNotes bounds what is noted of a workspace.
const maxNotes = 100

func (w *Workspace) note(format string, a ...any) {
	if len(w.Notes) < maxNotes {
		w.Notes = append(w.Notes, fmt.Sprintf(format, a...))
	}
}

// answer is a record of the cache of answers. Older versions keep records by mode.
type answer struct {
	Return  *string `json:"return"`
	Kind    string  `json:"cache_type"`
	ChunkID string  `json:"chunk_id"`
	Created float64 `json:"create_time"`
}

func (w *Workspace) readAnswers(l Limits) func(string, io.Reader) error {
	return func(file string, r io.Reader) error {
		return records(file, r, l, func(key string, raw json.RawMessage) error {
			var a answer
			if err := json.Unmarshal(raw, &a); err == nil && a.Return != nil {
				w.Files.Answers++
				w.keep(key, a)
				return nil
			}
			var mode map[string]json.RawMessage
			if err := json.Unmarshal(raw, &mode); err != nil {
				return errors.New("it is no answer and no group of answers")
			}
			for hash, raw := range mode {
				var a answer
				if json.Unmarshal(raw, &a) == nil && a.Return != nil {
					w.Files.Answers++
					w.keep(key+":"+cmp.Or(a.Kind, "extract")+":"+hash, a)
				}
			}
			return nil
		})
	}
}

// keep remembers an answer about a chunk.
func (w *Workspace) keep(key string, a answer) {
	kind := a.Kind
	if kind == "" {
		if parts := strings.Split(key, ":"); len(parts) == 3 {
			kind = parts[1]
		}
	}
	c := w.Chunks[a.ChunkID]
	if kind != "extract" || c == nil || *a.Return == "" {
		return
	}
	w.Answers++
	c.replies = append(c.replies, reply{key: key, at: a.Created, text: *a.Return})
}

func (w *Workspace) readGraph(l Limits) func(string, io.Reader) error {
	return func(file string, r io.Reader) (err error) {
		if w.Graph, err = readGraphML(file, r, l); err != nil {
			return err
		}
		w.Files.Nodes, w.Files.Edges = len(w.Graph.Nodes), len(w.Graph.Edges)
		return nil
	}
}

func (w *Workspace) readSources(l Limits, put func(string, []string)) func(string, io.Reader) error {
	return func(file string, r io.Reader) error {
		return records(file, r, l, func(key string, v struct {
			Chunks list `json:"chunk_ids"`
		}) error {
			put(key, v.Chunks)
			return nil
		})
	}
}

// countRows counts the names that a file keeps of each document.
func countRows(l Limits, n *int) func(string, io.Reader) error {
	return func(file string, r io.Reader) error {
		return records(file, r, l, func(_ string, v struct {
			Names []json.RawMessage `json:"entity_names"`
			Pairs []json.RawMessage `json:"relation_pairs"`
		}) error {
			*n += len(v.Names) + len(v.Pairs)
			return nil
		})
	}
}

// countVectors reads a file of vectors for its faults and counts its rows.
func countVectors(l Limits, n *int) func(string, io.Reader) error {
	return func(file string, r io.Reader) error {
		v, err := readVectors(file, r, l)
		if err == nil {
			*n = len(v.rows)
		}
		return err
	}
}

// settle puts the answers of each chunk in order: that of the chunk's list, else by time.
func (w *Workspace) settle() {
	for _, c := range w.Chunks {
		place := map[string]int{}
		for i, key := range c.cached {
			place[key] = i + 1
		}
		of := func(r reply) int {
			if n := place[r.key]; n > 0 {
				return n
			}
			return len(place) + 1
		}
		slices.SortFunc(c.replies, func(a, b reply) int {
			return cmp.Or(cmp.Compare(of(a), of(b)), cmp.Compare(a.at, b.at), strings.Compare(a.key, b.key))
		})
		for _, r := range c.replies {
			c.Replies = append(c.Replies, r.text)
		}
		c.replies, c.cached = nil, nil
	}
}

// chunksOf are the chunks of each document in their order, those without text left out.
func (w *Workspace) chunksOf() map[string][]*Chunk {
	out := map[string][]*Chunk{}
	for _, c := range w.Chunks {
		if strings.TrimSpace(c.Text) != "" && utf8.ValidString(c.Text) {
			out[c.DocID] = append(out[c.DocID], c)
		}
	}
	for _, l := range out {
		slices.SortFunc(l, func(a, b *Chunk) int { return cmp.Or(cmp.Compare(a.Order, b.Order), strings.Compare(a.ID, b.ID)) })
	}
	return out
}
