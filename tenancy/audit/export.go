package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
)

// exportFormat is the first word of an export's head.
const exportFormat = "alcove audit export 1"

// maxExportLine bounds a line of an export that is read: a record in JSON and in its
// stored form, and a proof of at most 62 hashes.
const maxExportLine = 16 * maxRecordBytes

// Head of an export: the checkpoint that its proofs lead to, and whose records it holds.
type ExportHead struct {
	Format     string `json:"format"`
	Checkpoint string `json:"checkpoint"` // the signed note
	// VerifierKey is the public key as the store has it. Whoever checks an export should use the
	// one they were given before.
	VerifierKey string `json:"verifier_key"`
	Tenant      string `json:"tenant_id,omitempty"` // absent: the records of all chains
	FirstEntry  uint64 `json:"first_entry"`         // retention has cut what was before
}

// ExportLine is one record with what proves it.
type ExportLine struct {
	Entry  uint64 `json:"entry"`
	Chain  uint64 `json:"chain"`
	Tenant string `json:"tenant_id,omitempty"`
	Record Record `json:"record"`
	Sealed []byte `json:"sealed"`
	Proof  []Hash `json:"proof"`
}

// Exporter writes records, a JSON object a line, behind a line that is the head.
type Exporter struct{ e *json.Encoder }

// NewExporter writes the head to w; its Format is filled in.
func NewExporter(w io.Writer, h ExportHead) (*Exporter, error) {
	h.Format = exportFormat
	x := &Exporter{json.NewEncoder(w)}
	x.e.SetEscapeHTML(false)
	return x, x.e.Encode(h)
}

// Write writes one record.
func (x *Exporter) Write(l ExportLine) error { return x.e.Encode(l) }

// ExportReport says what VerifyExport found to be good.
type ExportReport struct {
	Head       ExportHead
	Checkpoint Checkpoint
	Records    int64
}

// VerifyExport reads an export and checks, without the store and without its secrets,
// that verifierKey signed the checkpoint, that each record is in the tree the checkpoint
// tells of, says what its stored form says, and is the next of its chain; in an export
// of all chains also that no entry is missing. The first bad record is a *BreakError.
//
// What it cannot show of one tenant's export is that records after its last are missing:
// only the store or an export of all chains can.
func VerifyExport(r io.Reader, verifierKey string) (ExportReport, error) {
	var rep ExportReport
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), maxExportLine)
	if !lines.Scan() {
		return rep, fmt.Errorf("%w: an export without a head", ErrMalformed)
	}
	if err := json.Unmarshal(lines.Bytes(), &rep.Head); err != nil || rep.Head.Format != exportFormat {
		return rep, fmt.Errorf("%w: the head of an export", ErrMalformed)
	}
	var err error
	if rep.Checkpoint, err = OpenCheckpoint([]byte(rep.Head.Checkpoint), verifierKey); err != nil {
		return rep, fmt.Errorf("the export's checkpoint: %w", err)
	}
	next, after := rep.Head.FirstEntry, map[uint64]uint64{}
	for lines.Scan() {
		var l ExportLine
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			return rep, &BreakError{Entry: next, Reason: "a line is not of an export: it does not parse"}
		}
		bad := func(reason string) error {
			return &BreakError{Chain: l.Chain, Seq: l.Record.Seq, Entry: l.Entry, Reason: reason}
		}
		if rep.Head.Tenant == "" && l.Entry != next || l.Entry < next {
			return rep, bad(fmt.Sprintf("entry %d should stand here", next))
		}
		if last, known := after[l.Chain]; known && l.Record.Seq != last+1 {
			return rep, bad(fmt.Sprintf("record %d of the chain should stand here", last+1))
		}
		if len(l.Sealed) < len(MAC{}) {
			return rep, bad("too short")
		}
		got, err := Decode(l.Sealed[:len(l.Sealed)-len(MAC{})])
		if err != nil || !reflect.DeepEqual(got, l.Record) {
			return rep, bad("it reads otherwise than its stored form")
		}
		if err := CheckProof(rep.Checkpoint, l.Entry, l.Chain, l.Sealed, l.Proof); err != nil {
			return rep, bad("its proof does not lead to the checkpoint")
		}
		next, after[l.Chain] = l.Entry+1, l.Record.Seq
		rep.Records++
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("%w: a line of an export is longer than %d bytes", ErrMalformed, maxExportLine)
		}
		return rep, err
	}
	if rep.Head.Tenant == "" && next != rep.Checkpoint.Size {
		return rep, &BreakError{Entry: next, Reason: fmt.Sprintf("the export ends here; its checkpoint tells of %d entries", rep.Checkpoint.Size)}
	}
	return rep, nil
}
