package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"alcove/engine"
)

var (
	// errMediaType marks a body of a type the route does not read.
	errMediaType = errors.New("unsupported media type")
	// errBodySlow marks a body that came in slower than the least rate.
	errBodySlow = errors.New("the body came in too slowly")
	// errBodyCut marks a body that ended before its announced length.
	errBodyCut = errors.New("the body ended early")
)

// maxDepth bounds the nesting of a JSON body. Our own types need 4; the rest is
// room for metadata.
const maxDepth = 32

// maxExactInt is the largest integer up to which every integer is a float64.
// Untyped numbers (metadata) are kept as float64, so a larger one would be
// changed in silence.
const maxExactInt = 1 << 53

// badField is the error for a field that was sent wrongly.
func badField(field, format string, args ...any) error {
	return &engine.FieldError{Field: field, Message: fmt.Sprintf(format, args...)}
}

// decode reads the request's JSON body into v, a pointer to a struct. The body
// must be one JSON object of Content-Type application/json in valid UTF-8;
// unknown and repeated fields (names are case-sensitive), values of the wrong
// type, nesting over maxDepth, lone surrogates and anything after the object
// are refused with the field named. null means absent.
func (s *Server) decode(r *http.Request, v any) error { return s.decodeLimited(r, v, s.o.MaxBodyBytes) }

// decodeSmall is decode for bodies that hold no documents.
func (s *Server) decodeSmall(r *http.Request, v any) error {
	return s.decodeLimited(r, v, min(maxSmallBody, s.o.MaxBodyBytes))
}

// decodeOptional is decodeSmall for a body that may be absent.
func (s *Server) decodeOptional(r *http.Request, v any) error {
	if r.ContentLength == 0 || r.Body == nil {
		return nil
	}
	return s.decodeSmall(r, v)
}

// maxSmallBody is well over a question of 131,072 characters.
const maxSmallBody = 1 << 20

func (s *Server) decodeLimited(r *http.Request, v any, limit int64) error {
	if err := wantType(r, "application/json"); err != nil {
		return err
	}
	data, err := s.readBody(r, limit)
	if err != nil {
		return err
	}
	return decodeStrict("body", data, v)
}

// wantType refuses a request whose body is not of the given type.
func wantType(r *http.Request, want string) error {
	got := r.Header.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(got)
	if err != nil || kind != want {
		return &engine.FieldError{Field: "Content-Type", Message: "must be " + want, Err: errMediaType}
	}
	if cs := params["charset"]; cs != "" && !strings.EqualFold(cs, "utf-8") {
		return &engine.FieldError{Field: "Content-Type", Message: "charset must be utf-8", Err: errMediaType}
	}
	return plainBody(r)
}

// plainBody refuses a request whose body is compressed: its bytes would be taken
// for the text itself.
func plainBody(r *http.Request) error {
	for _, coding := range r.Header.Values("Content-Encoding") {
		if !strings.EqualFold(coding, "identity") {
			return &engine.FieldError{Field: "Content-Encoding", Message: "must be absent: bodies are read as they are", Err: errMediaType}
		}
	}
	return nil
}

// decodeStrict is decode for bytes at hand, called name in errors.
// encoding/json alone would match names in any case, let the last of two equal
// names win, and replace invalid UTF-8; a walk over the text refuses these first.
func decodeStrict(name string, data []byte, v any) error {
	if len(bytes.TrimLeft(data, " \t\r\n")) == 0 {
		return badField(name, "is empty; a JSON object is needed")
	}
	if !utf8.Valid(data) {
		return badField(name, "is not valid UTF-8 at byte %d", invalidUTF8At(data))
	}
	if err := json.Unmarshal(data, &discard{}); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			if strings.Contains(syntax.Error(), "exceeded max depth") { // encoding/json's own is 10,000
				return badField(name, "is nested deeper than %d", maxDepth)
			}
			return badField(name, "is not one JSON object: %s at byte %d", syntax.Error(), syntax.Offset)
		}
		return badField(name, "is not one JSON object")
	}
	w := walker{name: name, data: data}
	if name != "body" {
		w.path = append(w.path, name...)
	}
	w.space()
	if w.data[w.pos] != '{' {
		return badField(name, "must be a JSON object")
	}
	if err := w.value(reflect.TypeOf(v).Elem(), 0); err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		if kind, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && kind.Field != "" {
			return badField(kind.Field, "must be %s", describe(kind.Type))
		}
		if field, ok := errors.AsType[*engine.FieldError](err); ok { // of a type that reads itself
			return field
		}
		return badField(name, "cannot be read: %v", err)
	}
	return nil
}

// discard takes any JSON value and keeps nothing: decoding into it checks the
// syntax and that nothing follows.
type discard struct{}

func (*discard) UnmarshalJSON([]byte) error { return nil }

func invalidUTF8At(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// walker goes once over JSON text that is known to be well-formed, beside the
// Go type it is meant for.
type walker struct {
	name string // of the whole text
	data []byte
	pos  int
	path []byte // of the value at pos, as a.b[3].c
}

var (
	timeType    = reflect.TypeFor[time.Time]()
	unmarshaler = reflect.TypeFor[json.Unmarshaler]()
)

// value checks the value at pos against t; nil is any type.
func (w *walker) value(t reflect.Type, depth int) error {
	if depth > maxDepth {
		return w.bad("is nested deeper than %d", maxDepth)
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	w.space()
	c := w.data[w.pos]
	if c == 'n' {
		w.pos += len("null")
		return nil
	}
	if t == timeType {
		return w.time()
	}
	if t != nil && t.PkgPath() != "" && reflect.PointerTo(t).Implements(unmarshaler) {
		t = nil // it reads itself
	}
	kind := reflect.Interface
	if t != nil {
		kind = t.Kind()
	}
	switch c {
	case '{':
		switch kind {
		case reflect.Struct, reflect.Map, reflect.Interface:
			return w.object(t, depth)
		}
	case '[':
		switch kind {
		case reflect.Slice, reflect.Array, reflect.Interface:
			return w.array(t, depth)
		}
	case '"':
		if kind == reflect.String || kind == reflect.Interface {
			_, err := w.str()
			return err
		}
	case 't':
		if kind == reflect.Bool || kind == reflect.Interface {
			w.pos += len("true")
			return nil
		}
	case 'f':
		if kind == reflect.Bool || kind == reflect.Interface {
			w.pos += len("false")
			return nil
		}
	default:
		return w.number(t, kind)
	}
	return w.bad("must be %s", describe(t))
}

func (w *walker) object(t reflect.Type, depth int) error {
	var fields map[string]reflect.Type
	var elem reflect.Type
	if t != nil && t.Kind() == reflect.Struct {
		fields = fieldsOf(t)
	} else if t != nil && t.Kind() == reflect.Map {
		elem = t.Elem()
	}
	seen := make(map[string]struct{})
	mark := len(w.path)
	w.pos++ // {
	for {
		w.space()
		switch w.data[w.pos] {
		case '}':
			w.pos++
			return nil
		case ',':
			w.pos++
			w.space()
		}
		key, err := w.str()
		if err != nil {
			return err
		}
		w.enter(key)
		if fields != nil {
			var known bool
			if elem, known = fields[key]; !known {
				return w.bad("is not a known field")
			}
		}
		if _, twice := seen[key]; twice {
			return w.bad("is given twice")
		}
		seen[key] = struct{}{}
		w.space()
		w.pos++ // :
		if err := w.value(elem, depth+1); err != nil {
			return err
		}
		w.path = w.path[:mark]
	}
}

func (w *walker) array(t reflect.Type, depth int) error {
	var elem reflect.Type
	if t != nil && t.Kind() != reflect.Interface {
		elem = t.Elem()
	}
	mark := len(w.path)
	w.pos++ // [
	for i := 0; ; {
		w.space()
		switch w.data[w.pos] {
		case ']':
			w.pos++
			return nil
		case ',':
			w.pos++
			w.space()
		}
		w.path = append(strconv.AppendInt(append(w.path, '['), int64(i), 10), ']')
		// A missing text among texts is a mistake, not an empty text.
		if w.data[w.pos] == 'n' && elem != nil && !nullable(elem) {
			return w.bad("must be %s", describe(elem))
		}
		if err := w.value(elem, depth+1); err != nil {
			return err
		}
		w.path = w.path[:mark]
		i++
	}
}

func (w *walker) number(t reflect.Type, kind reflect.Kind) error {
	start := w.pos
	for w.pos < len(w.data) && strings.IndexByte("+-0123456789.eE", w.data[w.pos]) >= 0 {
		w.pos++
	}
	text := string(w.data[start:w.pos])
	switch kind {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if _, err := strconv.ParseInt(text, 10, t.Bits()); err == nil {
			return nil
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if _, err := strconv.ParseUint(text, 10, t.Bits()); err == nil {
			return nil
		}
	case reflect.Float32, reflect.Float64:
		if _, err := strconv.ParseFloat(text, t.Bits()); err == nil {
			return nil
		}
	case reflect.Interface:
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return w.bad("is a number out of range")
		}
		if strings.ContainsAny(text, ".eE") {
			return nil
		}
		// Compared as it is written: as a float64 the next one is equal.
		if i, err := strconv.ParseInt(text, 10, 64); err != nil || i > maxExactInt || i < -maxExactInt {
			return w.bad("is a whole number beyond 2^53, which would be changed; send it as text")
		}
		return nil
	}
	return w.bad("must be %s", describe(t))
}

func (w *walker) time() error {
	if w.data[w.pos] == '"' {
		text, err := w.str()
		if err != nil {
			return err
		}
		if _, err := time.Parse(time.RFC3339, text); err == nil {
			return nil
		}
	}
	return w.bad("must be %s", describe(timeType))
}

// str reads the string at pos. Lone surrogates are refused: encoding/json
// would replace them, and two different strings would become one.
func (w *walker) str() (string, error) {
	start, escaped := w.pos, false
	i := w.pos + 1
	for w.data[i] != '"' {
		if w.data[i] != '\\' {
			i++
			continue
		}
		escaped = true
		if w.data[i+1] != 'u' {
			i += 2
			continue
		}
		unit := hex4(w.data[i+2:])
		i += 6
		switch {
		case unit >= 0xDC00 && unit <= 0xDFFF:
			return "", w.bad("holds half of a surrogate pair")
		case unit >= 0xD800 && unit <= 0xDBFF:
			if w.data[i] != '\\' || w.data[i+1] != 'u' {
				return "", w.bad("holds half of a surrogate pair")
			}
			if low := hex4(w.data[i+2:]); low < 0xDC00 || low > 0xDFFF {
				return "", w.bad("holds half of a surrogate pair")
			}
			i += 6
		}
	}
	w.pos = i + 1
	if i-start > maxKeyBytes {
		// Only names, dates and field names are looked at; a long text is not copied.
		return longString, nil
	}
	if !escaped {
		return string(w.data[start+1 : i]), nil
	}
	var text string
	if err := json.Unmarshal(w.data[start:w.pos], &text); err != nil {
		return "", w.bad("is not a string")
	}
	return text, nil
}

const (
	// maxKeyBytes bounds the name of a field, as written.
	maxKeyBytes = 1024
	// longString stands for a string over maxKeyBytes. It equals no name: a
	// second one in the same object is refused as given twice.
	longString = "\x00 long"
)

func hex4(b []byte) rune {
	n, err := strconv.ParseUint(string(b[:4]), 16, 32)
	if err != nil {
		return utf8.RuneError // cannot happen in well-formed JSON
	}
	return rune(n)
}

// enter appends a field name to the path, cut so that a hostile name does not
// fill the answer.
func (w *walker) enter(key string) {
	if len(w.path) > 0 {
		w.path = append(w.path, '.')
	}
	w.path = append(w.path, shorten(key)...)
}

// shorten cuts text from a caller for an error message and makes what cannot
// be printed visible.
func shorten(s string) string {
	const most = 64
	if s == longString {
		return "(a long name)"
	}
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

func (w *walker) bad(format string, args ...any) error {
	path := string(w.path)
	if path == "" {
		path = w.name
	}
	if len(path) > 256 {
		path = strings.ToValidUTF8(path[:256], "") + "…"
	}
	return badField(path, format, args...)
}

func (w *walker) space() {
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case ' ', '\t', '\r', '\n':
			w.pos++
		default:
			return
		}
	}
}

func nullable(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Interface:
		return true
	}
	return false
}

// describe says in a caller's words what a Go type wants.
func describe(t reflect.Type) string {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil:
		return "a value"
	case t == timeType:
		return "a time like 2026-01-31T12:00:00Z"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Interface:
		return "a value"
	}
	return "a whole number"
}

// fieldsOf maps the JSON names of a struct to the types of its fields.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	if m, ok := fieldCache.Load(t); ok {
		return m.(map[string]reflect.Type)
	}
	m := make(map[string]reflect.Type)
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || (f.Anonymous && name == "") {
			continue
		}
		if name == "" {
			name = f.Name
		}
		m[name] = f.Type
	}
	fieldCache.Store(t, m)
	return m
}

var fieldCache sync.Map // reflect.Type -> map[string]reflect.Type
