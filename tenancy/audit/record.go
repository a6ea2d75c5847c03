package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// Limits of one record. Longer fields are cut by Record.Fit, never refused: an act
// must not fail because its description is long.
const (
	MaxFieldBytes  = 512
	MaxDetails     = 32
	maxRecordBytes = (6 + 2*MaxDetails) * (MaxFieldBytes + binary.MaxVarintLen64) * 2
)

// formatV1 is the first byte of a canonical encoding.
const formatV1 = 1

// ErrMalformed marks bytes that are not the canonical encoding of a record.
var ErrMalformed = errors.New("malformed audit record")

// Record is one act: who did what to which thing, when, and how it ended.
type Record struct {
	Seq          uint64            `json:"seq"` // 1 is the first of its chain, no gaps
	Time         time.Time         `json:"time"`
	Actor        string            `json:"actor"`
	Action       string            `json:"action"`
	ResourceType string            `json:"resource_type"`
	ResourceID   string            `json:"resource_id"`
	Details      map[string]string `json:"details,omitempty"`
	RequestID    string            `json:"request_id,omitempty"`
	Outcome      string            `json:"outcome"`
}

// Fit returns r with every field inside the limits, its time in UTC without a
// monotonic part, and nil Details if there are none: the form that encodes and
// decodes to itself. Of too many details the first in key order stay.
func (r Record) Fit() Record {
	r.Time = time.Unix(0, r.Time.UnixNano()).UTC()
	r.Actor, r.Action, r.ResourceType = fit(r.Actor), fit(r.Action), fit(r.ResourceType)
	r.ResourceID, r.RequestID, r.Outcome = fit(r.ResourceID), fit(r.RequestID), fit(r.Outcome)
	if len(r.Details) == 0 {
		r.Details = nil
		return r
	}
	details := make(map[string]string, min(len(r.Details), MaxDetails))
	for _, k := range slices.Sorted(maps.Keys(r.Details)) {
		if len(details) == MaxDetails {
			break
		}
		if _, taken := details[fit(k)]; !taken {
			details[fit(k)] = fit(r.Details[k])
		}
	}
	r.Details = details
	return r
}

func fit(s string) string {
	if len(s) <= MaxFieldBytes {
		return s
	}
	end := MaxFieldBytes
	for end > MaxFieldBytes-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}

// Encode returns the canonical bytes of r.Fit(): a version, fixed-width numbers and
// length-prefixed fields, details in key order. Equal records have equal bytes and
// different records have different ones, so the bytes can stand for the record in a MAC.
func (r Record) Encode() []byte {
	r = r.Fit()
	b := make([]byte, 0, 160)
	b = append(b, formatV1)
	b = binary.BigEndian.AppendUint64(b, r.Seq)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Time.UnixNano()))
	for _, f := range []string{r.Actor, r.Action, r.ResourceType, r.ResourceID, r.RequestID, r.Outcome} {
		b = appendField(b, f)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Details)))
	for _, k := range slices.Sorted(maps.Keys(r.Details)) {
		b = appendField(b, k)
		b = appendField(b, r.Details[k])
	}
	return b
}

func appendField(b []byte, s string) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// Decode reads what Encode wrote. Bytes that Encode would not have written, down to
// the order of the details, are an ErrMalformed.
func Decode(b []byte) (Record, error) {
	if len(b) < 17 || len(b) > maxRecordBytes || b[0] != formatV1 {
		return Record{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	r := Record{
		Seq:  binary.BigEndian.Uint64(b[1:]),
		Time: time.Unix(0, int64(binary.BigEndian.Uint64(b[9:]))).UTC(),
	}
	b = b[17:]
	var err error
	for _, f := range []*string{&r.Actor, &r.Action, &r.ResourceType, &r.ResourceID, &r.RequestID, &r.Outcome} {
		if *f, b, err = takeField(b); err != nil {
			return Record{}, err
		}
	}
	if len(b) < 2 {
		return Record{}, fmt.Errorf("%w: cut short", ErrMalformed)
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if n > MaxDetails {
		return Record{}, fmt.Errorf("%w: %d details", ErrMalformed, n)
	}
	if n > 0 {
		r.Details = make(map[string]string, n)
	}
	last := ""
	for i := range n {
		var k, v string
		if k, b, err = takeField(b); err != nil {
			return Record{}, err
		}
		if v, b, err = takeField(b); err != nil {
			return Record{}, err
		}
		if i > 0 && k <= last {
			return Record{}, fmt.Errorf("%w: details out of order", ErrMalformed)
		}
		r.Details[k], last = v, k
	}
	if len(b) != 0 {
		return Record{}, fmt.Errorf("%w: %d bytes left over", ErrMalformed, len(b))
	}
	return r, nil
}

func takeField(b []byte) (string, []byte, error) {
	if len(b) < 2 {
		return "", nil, fmt.Errorf("%w: cut short", ErrMalformed)
	}
	n := int(binary.BigEndian.Uint16(b))
	b = b[2:]
	if n > MaxFieldBytes || n > len(b) {
		return "", nil, fmt.Errorf("%w: field of %d bytes", ErrMalformed, n)
	}
	return string(b[:n]), b[n:], nil
}
