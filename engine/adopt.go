package engine

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"alcove/tenancy"
)

const (
	// kindAdopted marks a document whose content, until its text is visible, is what
	// another system made of that text.
	kindAdopted = "adopted"
	// adoptedReader stands for the extractor behind what such a document says.
	adoptedReader  = "adopted.v1"
	adoptedVersion = 1

	maxAdoptedTrack = 128 // bytes of a track that is brought along
)

// Adoption is a document that another system has cut and read already, and maybe
// embedded.
type Adoption struct {
	ID, FilePath string // as of DocumentInput; the ID is needed
	Text         string
	Metadata     map[string]any
	Created      time.Time // its place in the lists; zero: now
	TrackID      string    // "": one of its own
	Chunks       []AdoptedChunk
	// EmbeddedBy is the Model of the embedder behind the vectors of the chunks.
	EmbeddedBy string
}

// AdoptedChunk is one passage as it was cut, in the order of the text. Start and End
// are the bytes of the Adoption's Text that it comes from.
type AdoptedChunk struct {
	Text       string
	Start, End int
	Said       Extraction
	Vector     []float32 // nil: there is none
}

// Adopt takes a document in as it is given: its chunks are not cut again, what they
// say is not asked for again, and a vector is kept where EmbeddedBy is the model of
// the knowledge base and its length that of the vectors there; the others are made.
// Else it is as Add for one document. A known document is unchanged if it was adopted
// from the very same; if it was adopted from something else it is replaced, and one
// that did not come so, or was changed since, is ErrConflict.
func (k *KB) Adopt(ctx context.Context, a Adoption) (*Accepted, error) {
	if err := a.check(k.eng.o.MaxChunks); err != nil {
		return nil, err
	}
	in, err := k.eng.checkOne(&DocumentInput{
		ID: a.ID, FilePath: a.FilePath, Content: []byte(a.Text), Metadata: a.Metadata, kind: kindAdopted,
	}, fields{text: "text", id: "id", source: "file_path", metadata: "metadata"})
	if err != nil {
		return nil, err
	}
	packed := a.encode()
	sum := sha256.Sum256(packed)
	in.content = squeeze(packed)
	in.face.Stored, in.face.Packed, in.face.Adopted = len(in.content), len(packed), hex.EncodeToString(sum[:])
	in.face.Media = "text/plain"
	in.created, in.track = a.Created, a.TrackID
	return k.accept(ctx, []*incoming{in}, "adopt", decideAdopt)
}

func decideAdopt(tx *tenancy.Tx, in *incoming) (Result, *documentRecord, error) {
	d, err := readDocument(tx, in.key)
	if errors.Is(err, ErrNotFound) {
		return ResultCreated, nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	switch now := d.next(); {
	case now.Kind != kindAdopted:
		return "", nil, fmt.Errorf("%s: document %s: %w", in.field, in.id, ErrConflict)
	case now.Adopted == in.face.Adopted && in.sameAs(now) && now.FilePath == in.face.FilePath:
		return ResultUnchanged, d, nil
	}
	return ResultUpdated, d, nil
}

func (a *Adoption) check(maxChunks int) error {
	if a.ID == "" {
		return badField("id", "is missing")
	}
	if !utf8.ValidString(a.Text) || strings.IndexByte(a.Text, 0) >= 0 {
		return badField("text", "is not valid text")
	}
	if len(a.TrackID) > maxAdoptedTrack || checkSource(a.TrackID) != nil {
		return badField("track_id", fmt.Sprintf("is not at most %d bytes of plain text", maxAdoptedTrack))
	}
	if n := len(a.Chunks); n == 0 || n > maxChunks {
		return badField("chunks", fmt.Sprintf("has %d passages; 1 to %d are allowed", n, maxChunks))
	}
	for i := range a.Chunks {
		c := &a.Chunks[i]
		at := fmt.Sprintf("chunks[%d].", i)
		switch {
		case strings.TrimSpace(c.Text) == "":
			return badField(at+"text", "is empty")
		case len(c.Text) > maxKGChunkBytes:
			return badField(at+"text", fmt.Sprintf("has %d bytes; at most %d are allowed", len(c.Text), maxKGChunkBytes))
		case !utf8.ValidString(c.Text) || strings.IndexByte(c.Text, 0) >= 0:
			return badField(at+"text", "is not valid text")
		case c.Start < 0 || c.Start > c.End || c.End > len(a.Text):
			return badField(at+"start", fmt.Sprintf("spans bytes %d to %d of %d", c.Start, c.End, len(a.Text)))
		}
		if err := checkVector(c.Vector); err != nil {
			return badField(at+"vector", err.Error())
		}
	}
	return nil
}

// checkVector is the contract of Embedder.Embed, for a vector from elsewhere.
func checkVector(v []float32) error {
	if v == nil {
		return nil
	}
	zero := true
	for _, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return errors.New("has a number that is not finite")
		}
		zero = zero && x == 0
	}
	if zero {
		return errors.New("is all zero")
	}
	return nil
}

// encode packs an adoption: what is stored until its document is visible.
func (a *Adoption) encode() []byte {
	b := appendString([]byte{adoptedVersion}, a.Text)
	b = appendString(b, a.EmbeddedBy)
	b = binary.AppendUvarint(b, uint64(len(a.Chunks)))
	for i := range a.Chunks {
		c := &a.Chunks[i]
		rec := chunkRecord{Text: c.Text, Start: c.Start, End: c.End, Tokens: countTokens(c.Text)}
		said := contributionOf(c.Said)
		b = appendString(b, string(rec.encode()))
		b = appendString(b, string(said.encode()))
		b = appendString(b, string(encodeVector(c.Vector)))
	}
	return b
}

// adopted is an adoption as the work on it needs it. Vectors are as they are stored,
// "" where there is none.
type adopted struct {
	text    string
	model   string
	chunks  []chunkRecord
	said    []contribution
	vectors []string
}

// readAdopted reads what encode wrote.
func readAdopted(b []byte) (a adopted, err error) {
	if len(b) == 0 || b[0] != adoptedVersion {
		return a, fmt.Errorf("%w: adopted document: unknown version", ErrDamaged)
	}
	r := reader{b: b[1:]}
	a.text, a.model = r.string(), r.string()
	n := r.count(3)
	for range n {
		rec, said, vector := r.string(), r.string(), r.string()
		if r.err != nil {
			break
		}
		c, err := decodeChunk([]byte(rec))
		if err != nil {
			return a, err
		}
		x, err := decodeContribution([]byte(said))
		if err != nil {
			return a, err
		}
		if len(vector)%4 != 0 || c.Start < 0 || c.Start > c.End || c.End > len(a.text) {
			return a, fmt.Errorf("%w: adopted document: chunk %d", ErrDamaged, len(a.chunks))
		}
		a.chunks, a.said, a.vectors = append(a.chunks, c), append(a.said, x), append(a.vectors, vector)
	}
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes too many", len(r.b))
	}
	if r.err != nil {
		return a, fmt.Errorf("%w: adopted document: %v", ErrDamaged, r.err)
	}
	return a, nil
}

// adopt makes the chunks of an adopted document of its content.
func (in *ingest) adopt(ctx context.Context, content []byte) ([]chunkRecord, error) {
	a, err := readAdopted(content)
	if err != nil {
		return nil, err
	}
	if err := in.keepText(ctx, &Parsed{Text: a.text}); err != nil {
		return nil, err
	}
	in.title = clip(in.face.title(), maxTitleBytes)
	in.given = a.said
	if a.model == in.embedder.Model() {
		in.brought = a.vectors
	}
	return a.chunks, nil
}

// bring gives chunks the vectors that came with their document, where they are as
// long as those of the knowledge base.
func (in *ingest) bring(group []*chunkWork) {
	if in.brought == nil {
		return
	}
	for _, w := range group {
		v := in.brought[w.ord]
		if w.vector != nil || v == "" {
			continue
		}
		if in.dim == 0 {
			in.dim = len(v) / 4
		}
		if len(v)/4 == in.dim {
			w.vector = []byte(v)
		}
	}
}

// adoptedGraph reads nothing: what the chunks of an adopted document say came with them.
type adoptedGraph struct{ givenGraph }

func (adoptedGraph) Identity() string { return adoptedReader }

// errLeft says that the work waits for an engine that may ask models.
var errLeft = errors.New("waits for an engine that asks models")

// ReadReplies returns what a model's replies say of one passage, as a ModelExtractor
// reads them: the first is the answer, each further one what it had missed. A reply
// that cannot be read says nothing.
func ReadReplies(replies ...string) (out Extraction) {
	for i, reply := range replies {
		x := readExtraction(reply)
		if i > 0 {
			x = gleaned(out, x)
		}
		out = x
	}
	return out
}
