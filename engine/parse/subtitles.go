package parse

import (
	"context"
	"regexp"
	"strings"

	"golang.org/x/net/html"

	"alcove/engine"
)

var cueTime = regexp.MustCompile(`^\s*((?:\d{1,4}:)?\d{1,2}:\d{2})[.,]\d{1,3}\s+-->\s+`)

// subtitles reads WebVTT and SubRip: each cue is a line of its time and its text, with
// the speaker where the file names one.
func subtitles(ctx context.Context, data []byte, l Limits) (*engine.Parsed, error) {
	src, _, err := toUTF8(data, "")
	if err != nil {
		return nil, err
	}
	t := newDraft(l)
	at, cue := "", []string(nil)
	skip := false
	flush := func() {
		if s := oneLine(strings.Join(cue, " ")); s != "" {
			t.line("[" + at + "] " + s)
		}
		at, cue = "", nil
	}
	n := 0
	for line := range strings.Lines(string(src)) {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		line = strings.TrimSpace(line)
		switch m := cueTime.FindStringSubmatch(line); {
		case m != nil:
			flush()
			at, skip = m[1], false
		case line == "":
			flush()
			skip = false
		case at != "":
			cue = append(cue, cueText(line))
		case skip || strings.HasPrefix(line, "NOTE") || line == "STYLE" || line == "REGION":
			skip = true
		}
	}
	flush()
	return t.done()
}

// maxCueTag is how long a tag may be; what is longer is text.
const maxCueTag = 200

// cueText is a cue's line without its tags. A voice tag becomes the speaker's name.
func cueText(line string) string {
	var b strings.Builder
	for {
		i := strings.IndexAny(line, "<{")
		if i < 0 {
			break
		}
		b.WriteString(line[:i])
		line = line[i:]
		end := strings.IndexAny(line[1:min(len(line), maxCueTag)], "<>{}")
		if end < 0 || line[0] == '<' && line[end+1] != '>' || line[0] == '{' && (line[end+1] != '}' || line[1] != '\\') {
			b.WriteByte(line[0])
			line = line[1:]
			continue
		}
		tag := line[1 : end+1]
		line = line[end+2:]
		if tag == "" || tag[0] != 'v' {
			continue
		}
		kind, name, ok := strings.Cut(tag, " ")
		if name = strings.TrimSpace(name); ok && name != "" && (kind == "v" || strings.HasPrefix(kind, "v.")) {
			b.WriteString(name + ": ")
		}
	}
	return html.UnescapeString(b.String() + line)
}
