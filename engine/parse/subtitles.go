package parse

import (
	"context"
	"regexp"
	"strings"

	"alcove/engine"
)

var (
	cueTime  = regexp.MustCompile(`^\s*((?:\d{1,4}:)?\d{1,2}:\d{2})[.,]\d{1,3}\s+-->\s+`)
	cueVoice = regexp.MustCompile(`<v(?:\.[^ >]*)?\s+([^>]{1,200})>`)
	cueTag   = regexp.MustCompile(`<[^<>]{0,200}>|\{\\[^{}]{0,100}\}`)
)

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
			line = cueVoice.ReplaceAllString(line, "$1: ")
			cue = append(cue, unescapeHTML(cueTag.ReplaceAllString(line, "")))
		case skip || strings.HasPrefix(line, "NOTE") || line == "STYLE" || line == "REGION":
			skip = true
		}
	}
	flush()
	return t.done()
}
