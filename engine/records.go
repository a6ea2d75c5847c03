package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// The kinds of record of a knowledge base. Ground state is kindDocument,
// kindContent, kindChunk, the set of vectors that counts, kindContribution, kindVisible, kindAlias and
// kindEdit; the rest is derived from it or keeps accounts of it. Fields of a key are of fixed
// width or length-prefixed, never joined by a separator.
const (
	kindState        = 'K' // () -> kbState
	kindDocument     = 'D' // doc16 -> documentRecord
	kindContent      = 'O' // doc16 gen8 part4 -> up to contentPartBytes of the document as sent, see original.go
	kindText         = 'o' // doc16 gen8 part4 -> the same of the text that was made of it, where one was
	kindChunk        = 'C' // doc16 gen8 ord4 -> chunkRecord
	kindVector       = 'V' // doc16 gen8 ord4 -> float32 little endian
	kindVectorOdd    = 'W' // the same in the other set, see vectorSet
	kindContribution = 'X' // doc16 gen8 ord4 -> contribution
	kindVisible      = 'S' // doc16 -> gen8 chunks4
	kindTouched      = 'U' // kbgen8 -> doc16; what a resident copy at kbgen-1 has to read again; handMark for aliases and edits
	kindList         = 'L' // status1 created8 doc16 -> (); status 0 lists all
	kindTrack        = 'T' // len1 track doc16 -> ()
	kindAnswer       = 'A' // sha32 -> stored model answer
	kindAnswerDoc    = 'a' // doc16 gen8 sha32 -> (); the answers that a version asked for
	kindAnswerUse    = 'b' // sha32 doc16 gen8 -> (); the same, by answer
	kindAnswerAge    = 'B' // time8 sha32 -> (); oldest first
	kindProfile      = 'P' // space1 sha16(name) -> prints and encodeProfile; see profiles.go
	kindProfileOdd   = 'Q' // the same in the other set
	kindAlias        = 'N' // sha16(identity) -> aliasRecord
	kindEdit         = 'E' // space1 sha16(name), as for profiles -> editRecord
	kindSnapshot     = 'G' // space1 block4 -> part of a snapshot: of a space's vector graph, see vectors.go, or of the copy in memory, see snapshot.go
	kindSummary      = 'M' // space1 sha16(name) -> summary: a description that a model wrote of many fragments, and of which
)

// contentPartBytes keeps a value under the store's 256 KiB.
const contentPartBytes = 192 << 10

// docKey is a document inside keys: the first 16 bytes of SHA-256 of its public id.
type docKey [16]byte

func keyOf(docID string) docKey {
	h := sha256.Sum256([]byte(docID))
	return docKey(h[:16])
}

// order is the beginning of the key as a number: smaller of two says which key is.
func (k docKey) order() uint64 { return binary.BigEndian.Uint64(k[:]) }

// MarshalText writes the key in hexadecimal.
func (k docKey) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, k[:]), nil }

// UnmarshalText reads what MarshalText wrote.
func (k *docKey) UnmarshalText(b []byte) error {
	if len(b) != 2*len(k) {
		return fmt.Errorf("document key of %d digits", len(b))
	}
	_, err := hex.Decode(k[:], b)
	return err
}

// version names one generation of one document: what its chunk records start with.
type version struct {
	doc docKey
	gen uint64
}

// names reports whether the document still has that generation.
func (d *documentRecord) names(gen uint64) bool {
	return gen != 0 && (d.Visible == gen || d.Pending == gen)
}

func (v version) prefix() []byte {
	b := make([]byte, 0, 28)
	b = append(b, v.doc[:]...)
	return binary.BigEndian.AppendUint64(b, v.gen)
}

func (v version) key(ord uint32) []byte { return binary.BigEndian.AppendUint32(v.prefix(), ord) }

// chunkRef names one chunk of one version.
type chunkRef struct {
	version
	ord uint32
}

func parseChunkKey(rest []byte) (chunkRef, error) {
	if len(rest) != 28 {
		return chunkRef{}, fmt.Errorf("%w: chunk key of %d bytes", ErrDamaged, len(rest))
	}
	return chunkRef{
		version: version{doc: docKey(rest[:16]), gen: binary.BigEndian.Uint64(rest[16:24])},
		ord:     binary.BigEndian.Uint32(rest[24:]),
	}, nil
}

// kbState is the one record that is written by every visible change.
type kbState struct {
	// Generation rises by one with every visible change; kindTouched says which
	// document each change was about.
	Generation uint64 `json:"generation"`
	// Versions is the last number given to a version of a document, so that no
	// number is used twice. Versions are begun long before they are visible.
	Versions uint64 `json:"versions"`
	// TouchedFrom is the oldest generation that kindTouched still has.
	TouchedFrom uint64         `json:"touched_from"`
	Embedder    string         `json:"embedder,omitempty"` // pinned at the first document
	Dim         int            `json:"dim,omitempty"`      // pinned at the first vector
	Documents   map[Status]int `json:"documents"`
	Chunks      int            `json:"chunks"`        // visible ones
	Bytes       int64          `json:"content_bytes"` // of all documents, as they are shown
	AnswerBytes int64          `json:"answer_bytes"`
	Named       nameCount      `json:"named,omitzero"`
	Added       nameCount      `json:"names_added,omitzero"` // ever, each counted once a version; it never falls
	Room        *nameRoom      `json:"names_counted,omitempty"`
	Profiles    uint64         `json:"profiles,omitempty"` // the profile job that waits, 0 when none does
	Aliases     int            `json:"aliases,omitempty"`
	Edits       int            `json:"edits,omitempty"`
	HandBytes   int64          `json:"hand_bytes,omitempty"` // of both
	// Changeovers counts the changes of the embedding model that are done. It says
	// which set of vectors counts.
	Changeovers uint64     `json:"changeovers,omitempty"`
	Reembed     *reembedAt `json:"reembed,omitempty"` // the change that is under way
	Importing   *importing `json:"importing,omitempty"`
}

// vectorSet is where the vectors of one embedding model are. There are two: while
// the model is changed the other set is filled, and it counts from then on.
type vectorSet struct{ chunks, profiles byte }

var vectorSets = [2]vectorSet{{kindVector, kindProfile}, {kindVectorOdd, kindProfileOdd}}

// vectors is the set that counts, otherVectors the one that does not.
func (st *kbState) vectors() vectorSet      { return vectorSets[st.Changeovers%2] }
func (st *kbState) otherVectors() vectorSet { return vectorSets[(st.Changeovers+1)%2] }

// face is what an input says of a document beside its text.
type face struct {
	FilePath string         `json:"file_path"`
	Name     string         `json:"name,omitempty"`
	Summary  string         `json:"summary,omitempty"`
	Kind     string         `json:"kind,omitempty"` // kindCustomKG, kindAdopted, or "" for a text
	Hash     string         `json:"hash"`           // SHA-256 of the content, hex
	Length   int            `json:"length"`
	Metadata map[string]any `json:"metadata,omitempty"`
	Media    string         `json:"media,omitempty"`
	// Of a file of which a text is made: how many bytes its content is compressed
	// to, whether that stays when the text is visible, and how it is to be read.
	Stored   int  `json:"stored,omitempty"`
	Keep     bool `json:"keep,omitempty"`
	MainText bool `json:"main_text,omitempty"`
	// Of an adopted document: the hash of what it was adopted from, and how many bytes
	// that is; Length is its text's.
	Adopted string `json:"adopted,omitempty"`
	Packed  int    `json:"packed,omitempty"`
}

// made reports whether the text is made of the content instead of being it.
func (f *face) made() bool { return f.Stored > 0 }

// storedLength is how many bytes the content takes in the store.
func (f *face) storedLength() int {
	if f.made() {
		return f.Stored
	}
	return f.Length
}

// inflated is how many bytes the content is before it is compressed.
func (f *face) inflated() int {
	if f.Kind == kindAdopted {
		return f.Packed
	}
	return f.Length
}

// title is the title that the metadata gives, "" when they give none.
func (f *face) title() string {
	s, _ := f.Metadata["title"].(string)
	return s
}

// documentRecord is a document in the store. Visible is the generation readers
// see, 0 when none; Pending is the generation being made, 0 when none. Pending
// stays on a failed or cancelled document: a retry goes on where it stopped.
type documentRecord struct {
	ID string `json:"id"`
	face
	Title string `json:"title,omitempty"` // of the visible generation
	// Of the text that was made of the visible generation, where one was.
	TextLength int      `json:"text_length,omitempty"`
	Warnings   []string `json:"warnings,omitempty"`
	Status     Status   `json:"status"`
	TrackID    string   `json:"track"`
	Visible    uint64   `json:"visible,omitempty"`
	Pending    uint64   `json:"pending,omitempty"`
	Chunks     int      `json:"chunks,omitempty"` // of the visible generation
	Entities   int      `json:"entities,omitempty"`
	Relations  int      `json:"relations,omitempty"`
	Names      int      `json:"names,omitempty"`     // of entities and of the ends of relations
	Extractor  string   `json:"extractor,omitempty"` // identity behind the visible contributions, "" when there are several
	readings
	Error   string    `json:"error,omitempty"`
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`

	// Reserved are bytes of the tenant's storage that the work on Pending is promised.
	Reserved int64 `json:"reserved,omitempty"`

	JobSeq uint64 `json:"job,omitempty"` // the one job that may write Pending; the fence of delete and replace
	// PendingDoc is what an update will make of the document when it becomes
	// visible; until then readers see the document as it was.
	PendingDoc *face `json:"pending_doc,omitempty"`
	// How far Pending has come, for a restart and for those who watch.
	PendingChunks    int    `json:"pending_chunks,omitempty"`
	PendingDone      int    `json:"pending_done,omitempty"`
	PendingExtractor string `json:"pending_extractor,omitempty"`
	PendingText      int    `json:"pending_text,omitempty"` // bytes of its text that are stored
}

// readings say how well the chunks of the visible generation were read.
type readings struct {
	FailedChunks int           `json:"failed_chunks,omitempty"`
	Failed       []failedChunk `json:"failed,omitempty"` // the first of them
	Dropped      int           `json:"dropped,omitempty"`
	Truncated    int           `json:"truncated,omitempty"`
}

// failedChunk is a chunk from which nothing could be extracted.
type failedChunk struct {
	Ord   uint32 `json:"ord"`
	Cause string `json:"cause"`
}

// maxFailedKept bounds the list of failed chunks in a document's record.
const maxFailedKept = 50

// working is the generation that the document's job is about: the one being made
// or, when chunks of the visible one are read again, that one.
func (d *documentRecord) working() uint64 { return cmp.Or(d.Pending, d.Visible) }

// next is the face that was accepted last: the pending one, if there is one.
func (d *documentRecord) next() *face {
	if d.PendingDoc != nil {
		return d.PendingDoc
	}
	return &d.face
}

// created is the document's place in the lists, in nanoseconds.
func (d *documentRecord) created() uint64 { return uint64(d.Created.UnixNano()) }

func marshalRecord(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("engine: record does not encode: " + err.Error()) // only types of this file come here
	}
	return b
}

func unmarshalRecord(what string, b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %s: %v", ErrDamaged, what, err)
	}
	return nil
}

// chunkRecord is one chunk. Start and End are byte offsets in the document's content.
type chunkRecord struct {
	Text       string
	Start, End int
	Tokens     int
	Place
	Heading []string
}

// contribution is what one chunk says of entities and relations: ground state.
type contribution struct {
	Entities  []EntityMention
	Relations []RelationMention
	// How the chunk was read, for the counts of its document. Failed is why it says
	// nothing although it may have something to say.
	Dropped   int
	Truncated bool
	Failed    string
}

const (
	recordVersion = 1
	// notedVersion is a contribution with a word on how it was read after the rest.
	notedVersion = 2
	// placedVersion is a chunk with a slide and a sheet after its headings.
	placedVersion = 2
)

func (c *chunkRecord) encode() []byte {
	b := make([]byte, 0, len(c.Text)+64)
	placed := c.Slide != 0 || c.Sheet != ""
	if placed {
		b = append(b, placedVersion)
	} else {
		b = append(b, recordVersion)
	}
	for _, n := range []int{c.Start, c.End, c.Tokens, c.Page, len(c.Heading)} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, h := range c.Heading {
		b = appendString(b, h)
	}
	if placed {
		b = appendString(binary.AppendUvarint(b, uint64(c.Slide)), c.Sheet)
	}
	return append(b, c.Text...)
}

func decodeChunk(b []byte) (c chunkRecord, err error) {
	r := reader{b: b}
	placed := len(b) > 0 && b[0] == placedVersion
	if placed {
		r.b = r.b[1:]
	} else {
		r.version()
	}
	c.Start, c.End, c.Tokens, c.Page = r.int(), r.int(), r.int(), r.int()
	n := r.count(1)
	for range n {
		c.Heading = append(c.Heading, r.string())
	}
	if placed {
		c.Slide, c.Sheet = r.int(), r.string()
	}
	if r.err != nil {
		return c, fmt.Errorf("%w: chunk record: %v", ErrDamaged, r.err)
	}
	c.Text = string(r.b)
	return c, nil
}

// encode writes every distinct string once: a sentence that describes ten
// relations is stored as one.
func (c *contribution) encode() []byte {
	at := map[string]uint64{}
	var table []string
	size := 0
	ref := func(s string) uint64 {
		i, ok := at[s]
		if !ok {
			i = uint64(len(table))
			at[s] = i
			table = append(table, s)
			size += len(s) + 2
		}
		return i
	}
	body := make([]byte, 0, 8*(len(c.Entities)+2*len(c.Relations)))
	body = binary.AppendUvarint(body, uint64(len(c.Entities)))
	for _, e := range c.Entities {
		for _, s := range []string{e.Name, e.Type, e.Description} {
			body = binary.AppendUvarint(body, ref(s))
		}
	}
	body = binary.AppendUvarint(body, uint64(len(c.Relations)))
	for _, r := range c.Relations {
		for _, s := range []string{r.Source, r.Target, r.Keywords, r.Description} {
			body = binary.AppendUvarint(body, ref(s))
		}
		body = binary.LittleEndian.AppendUint64(body, math.Float64bits(r.Weight))
	}
	b := make([]byte, 0, size+len(body)+8)
	noted := c.Dropped > 0 || c.Truncated || c.Failed != ""
	if noted {
		b = append(b, notedVersion)
	} else {
		b = append(b, recordVersion)
	}
	b = binary.AppendUvarint(b, uint64(len(table)))
	for _, s := range table {
		b = appendString(b, s)
	}
	b = append(b, body...)
	if noted {
		b = binary.AppendUvarint(b, uint64(c.Dropped))
		truncated := byte(0)
		if c.Truncated {
			truncated = 1
		}
		b = appendString(append(b, truncated), c.Failed)
	}
	return b
}

// decodeContribution reads what encode wrote. Its strings share one memory: who
// keeps one for long clones it.
func decodeContribution(b []byte) (c contribution, err error) {
	r := reader{b: b, text: string(b)}
	noted := len(b) > 0 && b[0] == notedVersion
	if noted {
		r.b = r.b[1:]
	} else {
		r.version()
	}
	table := make([]string, r.count(1))
	for i := range table {
		table[i] = r.string()
	}
	ref := func() string {
		i := r.int()
		if i >= len(table) {
			r.fail("string %d of %d", i, len(table))
			return ""
		}
		return table[i]
	}
	if n := r.count(3); n > 0 {
		c.Entities = make([]EntityMention, n)
	}
	for i := range c.Entities {
		c.Entities[i] = EntityMention{Name: ref(), Type: ref(), Description: ref()}
	}
	if n := r.count(12); n > 0 {
		c.Relations = make([]RelationMention, n)
	}
	for i := range c.Relations {
		c.Relations[i] = RelationMention{Source: ref(), Target: ref(), Keywords: ref(), Description: ref(), Weight: r.float()}
	}
	if noted {
		c.Dropped = r.int()
		c.Truncated = r.int() == 1
		c.Failed = r.string()
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes too many", len(r.b))
	}
	if r.err != nil {
		return contribution{}, fmt.Errorf("%w: contribution: %v", ErrDamaged, r.err)
	}
	return c, nil
}

func encodeVector(v []float32) []byte {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func decodeVector(b []byte) ([]float32, error) {
	if len(b) == 0 || len(b)%4 != 0 {
		return nil, fmt.Errorf("%w: vector of %d bytes", ErrDamaged, len(b))
	}
	return appendVector(make([]float32, 0, len(b)/4), b), nil
}

// appendVector is decodeVector of a record that is known to be of the right length.
func appendVector(v []float32, b []byte) []float32 {
	for ; len(b) >= 4; b = b[4:] {
		v = append(v, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return v
}

// encodeProfile stores the direction of a profile vector in a byte a number: there
// are thirty profiles to a chunk, and most of what the store moves again at each
// compaction would be theirs. A number is off by at most half a part in 127 of
// the largest.
func encodeProfile(v []float32) []byte {
	n, top := length(v), 0.0
	for _, x := range v {
		top = max(top, math.Abs(float64(x))/n)
	}
	step := float32(top / 127)
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, profileBytes(len(v))), math.Float32bits(step))
	for _, x := range v {
		q := math.Round(float64(x) / n / float64(step))
		b = append(b, byte(int8(max(-127, min(q, 127)))))
	}
	return b
}

// profileBytes is how long encodeProfile makes a vector of dim numbers.
func profileBytes(dim int) int { return 4 + dim }

// decodeProfile returns what was stored; it is what searches see from the first,
// so that a copy that was loaded ranks as the one that made it.
func decodeProfile(b []byte) ([]float32, error) {
	if len(b) <= profileBytes(0) {
		return nil, fmt.Errorf("%w: profile vector of %d bytes", ErrDamaged, len(b))
	}
	step := math.Float32frombits(binary.LittleEndian.Uint32(b))
	v := make([]float32, len(b)-profileBytes(0))
	for i, q := range b[profileBytes(0):] {
		v[i] = float32(int8(q)) * step
	}
	return v, nil
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// reader takes a record apart; the first fault stays in err and everything
// after it reads as zero, so that a caller checks once.
type reader struct {
	b    []byte
	text string // the whole record, for strings to be pieces of; "" copies each
	err  error
}

func (r *reader) fail(format string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, a...)
	}
	r.b = nil
}

func (r *reader) version() {
	if len(r.b) == 0 || r.b[0] != recordVersion {
		r.fail("unknown record version")
		return
	}
	r.b = r.b[1:]
}

func (r *reader) int() int {
	n, w := binary.Uvarint(r.b)
	if w <= 0 || n > math.MaxInt32 {
		r.fail("bad number")
		return 0
	}
	r.b = r.b[w:]
	return int(n)
}

// count reads how many items follow, each of at least size bytes, and refuses a
// number that the rest of the record cannot hold.
func (r *reader) count(size int) int {
	n := r.int()
	if n > len(r.b)/size {
		r.fail("%d items in %d bytes", n, len(r.b))
		return 0
	}
	return n
}

func (r *reader) string() string {
	n := r.int()
	if n > len(r.b) {
		r.fail("string of %d bytes in %d", n, len(r.b))
		return ""
	}
	var s string
	if at := len(r.text) - len(r.b); at >= 0 {
		s = r.text[at : at+n]
	} else {
		s = string(r.b[:n])
	}
	r.b = r.b[n:]
	return s
}

func (r *reader) float() float64 {
	if len(r.b) < 8 {
		r.fail("number cut short")
		return 0
	}
	f := math.Float64frombits(binary.LittleEndian.Uint64(r.b))
	r.b = r.b[8:]
	return f
}

// print is a hash of what is embedded and extracted from: text and headings.
func (c *chunkRecord) print() [16]byte {
	h := sha256.New()
	b := make([]byte, 0, 256)
	for _, x := range c.Heading {
		b = appendString(b, x)
	}
	h.Write(binary.AppendUvarint(b, uint64(len(c.Heading))))
	h.Write([]byte(c.Text))
	return [16]byte(h.Sum(nil)[:16])
}
