package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Measurement is what one run of a workload printed with --json. Result is the
// workload's own: one object or a list of them.
type Measurement struct {
	Workload   string            `json:"workload"`
	Flags      map[string]string `json:"flags"` // those that were given
	Version    string            `json:"version"`
	Go         string            `json:"go"`
	OS         string            `json:"os"`
	Arch       string            `json:"arch"`
	Processors int               `json:"processors"`
	Result     json.RawMessage   `json:"result"`
}

// Command is the command line that measures it again.
func (m Measurement) Command() string {
	s := "alcove bench " + m.Workload
	for _, name := range slices.Sorted(maps.Keys(m.Flags)) {
		if v := m.Flags[name]; v == "true" {
			s += " --" + name
		} else {
			s += " --" + name + " " + v
		}
	}
	return s
}

// Machine says where it was measured.
func (m Measurement) Machine() string {
	return fmt.Sprintf("alcove %s, %s, %s/%s, %d processors", m.Version, m.Go, m.OS, m.Arch, m.Processors)
}

// ReadMeasurements reads one Measurement or a list of them.
func ReadMeasurements(r io.Reader) ([]Measurement, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var ms []Measurement
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '[' {
		err = json.Unmarshal(b, &ms)
	} else {
		ms = make([]Measurement, 1)
		err = json.Unmarshal(b, &ms[0])
	}
	for _, m := range ms {
		if err == nil && (m.Workload == "" || len(m.Result) == 0) {
			err = errors.New("no result of a workload: workload and result are needed")
		}
	}
	return ms, err
}

// rows reads the result as what its workload returns.
func rows[T any](m Measurement) (out []T, err error) {
	b := bytes.TrimSpace(m.Result)
	if len(b) > 0 && b[0] == '[' {
		err = json.Unmarshal(b, &out)
	} else {
		out = make([]T, 1)
		err = json.Unmarshal(b, &out[0])
	}
	if err != nil {
		return nil, fmt.Errorf("the result of %s: %w", m.Workload, err)
	}
	return out, nil
}

// table reads the result whatever it is: the names of the fields in their order and a
// line for each object. What is not a number or a text stays JSON.
func (m Measurement) table() (names []string, lines [][]string, err error) {
	objects, err := rows[json.RawMessage](m)
	if err != nil {
		return nil, nil, err
	}
	column := map[string]int{}
	for _, o := range objects {
		d := json.NewDecoder(bytes.NewReader(o))
		if t, err := d.Token(); err != nil || t != json.Delim('{') {
			return nil, nil, fmt.Errorf("the result of %s is not made of objects", m.Workload)
		}
		line := make([]string, len(names))
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return nil, nil, err
			}
			name := fmt.Sprint(key)
			var v json.RawMessage
			if err := d.Decode(&v); err != nil {
				return nil, nil, err
			}
			at, ok := column[name]
			if !ok {
				at = len(names)
				column[name], names, line = at, append(names, name), append(line, "")
			}
			line[at] = cell(v)
		}
		lines = append(lines, line)
	}
	for i := range lines {
		lines[i] = append(lines[i], make([]string, len(names)-len(lines[i]))...)
	}
	return names, lines, nil
}

// cell shows a value: a text without its quotes, a number with at most four digits of
// a fraction.
func cell(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	var f float64
	if json.Unmarshal(v, &f) == nil {
		return number(f)
	}
	var b bytes.Buffer
	if json.Compact(&b, v) != nil {
		return string(v)
	}
	return b.String()
}
