package parse

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/wlynxg/chardet"
	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"

	"alcove/engine"
)

// maxGuessBytes is how much of a text its charset is guessed from.
const maxGuessBytes = 64 << 10

// charsetOf says in which charset a text is: nil for UTF-8. A mark at its beginning
// settles it, then whether it is UTF-8, then zero bytes in every second place, then
// declared (what the file says of itself, "" for nothing), then a guess by the
// frequency of bytes. It is ErrNotText where nothing fits.
func charsetOf(data []byte, declared string) (encoding.Encoding, string, error) {
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe\x00\x00")):
		return utf32.UTF32(utf32.LittleEndian, utf32.ExpectBOM), "UTF-32", nil
	case bytes.HasPrefix(data, []byte("\x00\x00\xfe\xff")):
		return utf32.UTF32(utf32.BigEndian, utf32.ExpectBOM), "UTF-32", nil
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")):
		return unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM), "UTF-16", nil
	}
	body := bytes.TrimPrefix(data, byteOrderMark)
	if i := bytes.IndexByte(body, 0); i >= 0 {
		if e := utf16Unmarked(data); e != nil {
			return e, "UTF-16", nil
		}
		return nil, "", fmt.Errorf("%w: NUL byte at offset %d", engine.ErrNotText, len(data)-len(body)+i)
	}
	if utf8.Valid(body) {
		return nil, "UTF-8", nil
	}
	if len(body) != len(data) {
		return nil, "", fmt.Errorf("%w: not UTF-8 at offset %d", engine.ErrNotText, len(data)-len(body)+invalidAt(body))
	}
	if declared != "" {
		if e, name := charset.Lookup(declared); e != nil && name != "utf-8" && decodes(e, data) {
			return e, name, nil
		}
	}
	if guess := chardet.Detect(data[:min(len(data), maxGuessBytes)]); guess.Encoding != "" && guess.Confidence > 0 {
		if e, name := charset.Lookup(guess.Encoding); e != nil && name != "utf-8" && decodes(e, data) {
			return e, name, nil
		}
	}
	if e, name := charset.Lookup("shift_jis"); shiftJISLike(data) && decodes(e, data) {
		return e, name, nil
	}
	// Few bytes say little: what Western files are is taken then, if no byte is one
	// that no text has.
	e, name := charset.Lookup("windows-1252")
	if decodes(e, data) {
		return e, name, nil
	}
	for _, label := range []string{"gb18030", "euc-jp", "big5", "euc-kr", "windows-1251"} {
		if e, name := charset.Lookup(label); decodes(e, data) {
			return e, name, nil
		}
	}
	return nil, "", fmt.Errorf("%w: neither UTF-8 nor any charset that is known", engine.ErrNotText)
}

// shiftJISLike reports whether most pairs of bytes begin as the common characters of
// Shift-JIS do and those of no other charset.
func shiftJISLike(data []byte) bool {
	pairs, low := 0, 0
	for i := 0; i < min(len(data), maxGuessBytes); i++ {
		if data[i] < 0x80 {
			continue
		}
		pairs++
		if data[i] >= 0x81 && data[i] <= 0x9f {
			low++
		}
		i++
	}
	return low*2 > pairs
}

// utf16Unmarked recognises UTF-16 without a mark by its zero bytes.
func utf16Unmarked(data []byte) encoding.Encoding {
	var zero [2]int
	head := data[:min(len(data), 4096)&^1]
	for i, c := range head {
		if c == 0 {
			zero[i%2]++
		}
	}
	switch half := len(head) / 2; {
	case half == 0 || len(data)%2 != 0:
		return nil
	case zero[1] > half*2/5 && zero[0] <= half/50:
		return unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	case zero[0] > half*2/5 && zero[1] <= half/50:
		return unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	}
	return nil
}

// decodes reports whether hardly anything of a text is undefined or a control
// character in a charset.
func decodes(e encoding.Encoding, data []byte) bool {
	head := data[:min(len(data), maxGuessBytes)]
	out, err := e.NewDecoder().Bytes(head)
	if err != nil {
		return false
	}
	bad, n := 0, 0
	for _, r := range string(out) {
		n++
		if r == utf8.RuneError || r < ' ' && r != '\n' && r != '\r' && r != '\t' && r != '\f' && r != 0x1b || r >= 0x7f && r < 0xa0 {
			bad++
		}
	}
	return bad*100 <= n
}

// toUTF8 converts a text of any charset; converted says that it was not UTF-8.
func toUTF8(data []byte, declared string) (out []byte, converted bool, err error) {
	e, name, err := charsetOf(data, declared)
	if err != nil {
		return nil, false, err
	}
	if e == nil {
		return bytes.TrimPrefix(data, byteOrderMark), false, nil
	}
	out, err = e.NewDecoder().Bytes(data)
	if err != nil {
		return nil, false, fmt.Errorf("%w: not %s: %v", engine.ErrNotText, name, err)
	}
	return out, true, nil
}
