package engine

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/klauspost/compress/zstd"

	"alcove/sealed"
	"alcove/tenancy"
)

// A knowledge base as one file: a sealed file whose body is a zstd stream of records,
// each kind (1) | length of the key (uvarint) | length of the value | key | value, the
// kinds in the order of portableKinds and the keys of each in ascending order. They are
// the records of the store: what readers see, what was paid a model for (vectors,
// profiles, summaries, stored answers), and what people did by hand. Lists, tracks,
// counters and the table of what is visible follow from them and are made again.

// PortableKind is the kind of sealed file that Export writes.
const PortableKind = "knowledge base"

// portableKinds are what a file holds. Vectors are always of the first set there,
// whichever counted where they come from.
var portableKinds = []byte{
	kindDocument, kindContent, kindText, kindChunk, kindVector, kindContribution,
	kindProfile, kindSummary, kindAlias, kindEdit, kindAnswer, kindAnswerUse,
}

// portableWindow bounds what packing and unpacking hold in memory.
const portableWindow = 1 << 20

// Portable is what a file says of the knowledge base in it.
type Portable struct {
	TenantID  string         `json:"tenant_id"`
	KBID      string         `json:"kb_id"`
	Made      time.Time      `json:"made_at"`
	Embedder  string         `json:"embedding_model"` // "" before the first document
	Dim       int            `json:"dimension"`
	Config    tenancy.Config `json:"config"` // what the knowledge base overrides
	Documents int            `json:"documents"`
	// LeftOut are documents that nobody has seen yet: waiting, being worked on, or failed.
	LeftOut int `json:"left_out"`

	Generation      uint64 `json:"generation"`
	Versions        uint64 `json:"versions"`
	HandBytes       int64  `json:"hand_bytes"`
	ProfilesWaiting bool   `json:"profiles_waiting,omitempty"` // some vectors of entities and relations are still to be made
}

// PortableCounts is what a file holds, by kind of record, and its bytes unpacked.
type PortableCounts struct {
	Records map[string]int `json:"records"`
	Bytes   int64          `json:"bytes"`
}

// Export writes the knowledge base as one file to what open returns, which is called when
// nothing can be refused any more. It is one moment of it, read beside writers: what
// readers see then, with what was paid a model for. Documents that nobody has seen yet are
// left out and counted. A key, which may be nil, signs the file. An error after open means
// that what was written is no whole file, and no reader will take it for one.
func (r *Reader) Export(ctx context.Context, key ed25519.PrivateKey, open func() io.Writer) error {
	_, config, err := r.space.Config(ctx)
	if err != nil {
		return err
	}
	return r.space.View(ctx, func(tx *tenancy.Tx) error {
		st, err := readState(tx)
		if err != nil {
			return err
		}
		visible, err := visibleVersions(tx)
		if err != nil {
			return err
		}
		x := exporter{ctx: ctx, tx: tx, set: st.vectors(), visible: make(map[docKey]uint64, len(visible)), counts: PortableCounts{Records: map[string]int{}}}
		for _, v := range visible {
			x.visible[v.doc] = v.gen
		}
		w, err := sealed.NewWriter(open(), PortableKind, Portable{
			TenantID: r.space.TenantID(), KBID: r.space.KBID(), Made: r.eng.now().Truncate(time.Second),
			Embedder: st.Embedder, Dim: st.Dim, Config: config,
			Documents: len(visible), LeftOut: int(st.documents()) - len(visible),
			Generation: st.Generation, Versions: st.Versions, HandBytes: st.HandBytes, ProfilesWaiting: st.Profiles != 0,
		}, key)
		if err != nil {
			return err
		}
		if x.out, err = zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(portableWindow)); err != nil {
			return err
		}
		err = x.all()
		if cerr := x.out.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("export knowledge base %s: %w", r.space.KBID(), err)
		}
		return w.Close(x.counts)
	})
}

type exporter struct {
	ctx     context.Context
	tx      *tenancy.Tx
	set     vectorSet
	visible map[docKey]uint64
	out     *zstd.Encoder
	counts  PortableCounts
	head    []byte
}

func (x *exporter) all() error {
	for _, kind := range portableKinds {
		if kind == kindAnswer {
			continue // an answer goes with those who asked for it
		}
		from := kind
		switch kind {
		case kindVector:
			from = x.set.chunks
		case kindProfile:
			from = x.set.profiles
		}
		each := func(rest, value []byte) error { return x.put(kind, rest, value) }
		switch kind {
		case kindDocument:
			each = x.document
		case kindContent, kindText, kindChunk, kindVector, kindContribution:
			each = func(rest, value []byte) error {
				ref, err := parseChunkKey(rest)
				if err != nil || x.visible[ref.doc] != ref.gen {
					return err
				}
				return x.put(kind, rest, value)
			}
		case kindAnswerUse:
			if err := x.answers(); err != nil {
				return err
			}
			each = func(rest, _ []byte) error {
				if _, ok := x.usedBy(rest); !ok {
					return nil
				}
				return x.put(kind, rest, nil)
			}
		}
		if err := x.tx.Scan(from, tenancy.Scan{}, each); err != nil {
			return err
		}
	}
	return nil
}

// usedBy is the answer that a kindAnswerUse key is about, and whether a version that
// readers see asked for it.
func (x *exporter) usedBy(rest []byte) (key answerKey, ok bool) {
	if len(rest) != 56 {
		return key, false
	}
	gen, ok := x.visible[docKey(rest[32:48])]
	return answerKey(rest[:32]), ok && gen == binary.BigEndian.Uint64(rest[48:])
}

// answers writes the stored answers that visible versions asked for, in their order.
func (x *exporter) answers() error {
	var last answerKey
	some := false
	return x.tx.Scan(kindAnswerUse, tenancy.Scan{KeysOnly: true}, func(rest, _ []byte) error {
		key, ok := x.usedBy(rest)
		if !ok || some && key == last {
			return nil
		}
		last, some = key, true
		b, err := x.tx.Get(kindAnswer, key[:])
		if err != nil {
			return fmt.Errorf("stored answer: %w", err)
		}
		return x.put(kindAnswer, key[:], b)
	})
}

// document writes a document as readers see it: without the work on its next version.
func (x *exporter) document(rest, value []byte) error {
	var d documentRecord
	if err := unmarshalRecord("document", value, &d); err != nil {
		return err
	}
	if len(rest) != len(docKey{}) || d.Visible == 0 {
		return nil
	}
	d.settle()
	return x.put(kindDocument, rest, marshalRecord(&d))
}

// settle makes of a document with a visible version one that nobody works on.
func (d *documentRecord) settle() {
	d.Pending, d.PendingDoc, d.PendingChunks, d.PendingDone, d.PendingExtractor, d.PendingText = 0, nil, 0, 0, "", 0
	d.JobSeq, d.Reserved, d.Error, d.Status = 0, 0, "", StatusProcessed
	if d.FailedChunks > 0 {
		d.Status = StatusPartial
	}
}

func (x *exporter) put(kind byte, rest, value []byte) error {
	if err := x.ctx.Err(); err != nil {
		return err
	}
	x.head = append(x.head[:0], kind)
	x.head = binary.AppendUvarint(x.head, uint64(len(rest)))
	x.head = binary.AppendUvarint(x.head, uint64(len(value)))
	x.counts.Records[string(kind)]++
	x.counts.Bytes += int64(len(rest) + len(value))
	for _, b := range [][]byte{x.head, rest, value} {
		if _, err := x.out.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// errPortable marks a file whose bytes are as they were written, and which is no
// knowledge base all the same.
var errPortable = errors.New("the file holds no knowledge base")

func notPortable(format string, a ...any) error {
	return fmt.Errorf("%w: %s", errPortable, fmt.Sprintf(format, a...))
}

const (
	// maxPortableKey and maxPortableValue are the store's own bounds of a record.
	maxPortableKey   = 1 << 10
	maxPortableValue = 256 << 10
	// maxUnpacked is how many times its own size a file may unpack to, and unpackedFree
	// what any may: text packs to a fifth, vectors hardly, a bomb to a thousandth.
	maxUnpacked  = 100
	unpackedFree = 16 << 20
)

// readPortable reads a file of size bytes through and calls f with each record, whose
// bytes are good inside f only. Only when it returns nil is the file whole: what f
// was given before is not proven.
func readPortable(ctx context.Context, src io.Reader, size int64, f func(kind byte, key, value []byte) error) (Portable, *sealed.Reader, error) {
	var p Portable
	in, err := sealed.NewReader(src, PortableKind)
	if err != nil {
		return p, nil, err
	}
	if err := in.Note(&p); err != nil {
		return p, nil, err
	}
	packed, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(2*portableWindow))
	if err != nil {
		return p, nil, err
	}
	defer packed.Close()
	r := bufio.NewReaderSize(packed, 64<<10)
	counts := PortableCounts{Records: map[string]int{}}
	unpacked := func(err error) error {
		if err == nil || errors.Is(err, sealed.ErrBroken) || ctx.Err() != nil {
			return err
		}
		return fmt.Errorf("%w: it does not unpack", sealed.ErrBroken)
	}
	buf := make([]byte, maxPortableKey+maxPortableValue)
	for {
		if err := ctx.Err(); err != nil {
			return p, nil, err
		}
		kind, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			break
		}
		var lengths [2]uint64
		for i := range lengths {
			if err == nil {
				lengths[i], err = binary.ReadUvarint(r)
			}
		}
		if err != nil {
			return p, nil, unpacked(err)
		}
		if lengths[0] > maxPortableKey || lengths[1] > maxPortableValue {
			return p, nil, notPortable("a record of %d and %d bytes", lengths[0], lengths[1])
		}
		b := buf[:lengths[0]+lengths[1]]
		if _, err := io.ReadFull(r, b); err != nil {
			return p, nil, unpacked(err)
		}
		counts.Records[string(kind)]++
		if counts.Bytes += int64(len(b)); counts.Bytes > unpackedFree && counts.Bytes/maxUnpacked > size {
			return p, nil, notPortable("it unpacks to more than %d times its size", maxUnpacked)
		}
		if err := f(kind, b[:lengths[0]:lengths[0]], b[lengths[0]:]); err != nil {
			return p, nil, err
		}
	}
	if n, err := io.Copy(io.Discard, in); err != nil || n > 0 {
		return p, nil, unpacked(errors.Join(err, sealed.ErrBroken))
	}
	var said PortableCounts
	if err := in.Trailer(&said); err != nil {
		return p, nil, err
	}
	for kind, n := range counts.Records {
		if said.Records[kind] != n {
			return p, nil, notPortable("it holds %d records of kind %s and says %d", n, kind, said.Records[kind])
		}
	}
	if len(said.Records) != len(counts.Records) || said.Bytes != counts.Bytes {
		return p, nil, notPortable("it does not hold what it says")
	}
	if p.Generation > math.MaxInt64 || p.Versions > math.MaxInt64 {
		return p, nil, notPortable("numbers that none has")
	}
	return p, in, nil
}
