package parse

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"alcove/engine"
)

// Options say how files are read. The zero value reads in this process.
type Options struct {
	Limits Limits
	// Child is the command that reads a file in a process of its own, for files that
	// are more than plain text: it runs ServeChild. Empty: they are read in this
	// process, and a file that hangs or takes memory without end hurts it.
	Child []string
	// CacheDir is where the compiled PDF reader is kept, so that it is compiled once
	// and not at every start; "" keeps nothing.
	CacheDir string
	// Slots is how many child processes may run at once; 0: 2.
	Slots int
}

// New returns this package as an engine.Parser. Safe for concurrent use.
func New(o Options) engine.Parser {
	o.Limits = o.Limits.withDefaults()
	if o.Slots <= 0 {
		o.Slots = 2
	}
	if len(o.Child) == 0 {
		return engine.Parser{Sniff: Sniff, Parse: func(ctx context.Context, f engine.File) (*engine.Parsed, error) {
			return parse(ctx, f, o)
		}}
	}
	return engine.Parser{Sniff: Sniff, Parse: newNursery(o).parse}
}

// parse reads a file in this process. The same file always gives the same blocks.
// Its errors wrap those of Sniff, engine.ErrTooLarge for a limit, or ctx's.
func parse(ctx context.Context, f engine.File, o Options) (*engine.Parsed, error) {
	r := &reader{o: o, limits: o.Limits, mainText: f.MainText}
	return r.read(ctx, f.Name, f.Data)
}

// reader is the reading of one file with what is within it.
type reader struct {
	o        Options
	limits   Limits
	mainText bool
	level    int    // of archives and attachments
	left     *int64 // of Limits.UnpackedBytes, shared by all levels
}

func (r *reader) read(ctx context.Context, name string, data []byte) (*engine.Parsed, error) {
	k, err := detect(name, data)
	if err != nil {
		return nil, err
	}
	p, err := r.readAs(ctx, k, data)
	if err != nil {
		return nil, err
	}
	if k.note != "" {
		p.Warnings = append([]string{k.note}, p.Warnings...)
	}
	return p, nil
}

func (r *reader) readAs(ctx context.Context, k found, data []byte) (*engine.Parsed, error) {
	if k.format.archived {
		a, err := openArchive(k.format.name, data, r.limits, r.left)
		if err != nil {
			return nil, err
		}
		switch k.format {
		case formatDocx:
			return docx(ctx, a)
		case formatPptx:
			return pptx(ctx, a)
		case formatXlsx:
			return xlsx(ctx, a, data)
		case formatOdf:
			return odf(ctx, a)
		case formatEpub:
			return epub(ctx, a)
		}
		return r.zip(ctx, a)
	}
	switch k.format {
	case formatPDF:
		return pdf(ctx, data, r.o)
	case formatFlatOPC:
		a, err := flatOPC(ctx, data, r.limits)
		if err != nil {
			return nil, err
		}
		return docx(ctx, a)
	case formatRTF:
		return rtf(ctx, data, r.limits)
	case formatHTML:
		return webpage(ctx, data, r.mainText, r.limits)
	case formatXML:
		return plainXML(ctx, data, r.limits)
	case formatTable:
		return tabular(ctx, data, r.limits)
	case formatSubtitles:
		return subtitles(ctx, data, r.limits)
	case formatMail:
		return r.message(ctx, data)
	}
	return plain(ctx, k, data)
}

// plain reads a file that is its own text, or that becomes one by its charset alone.
func plain(ctx context.Context, k found, data []byte) (*engine.Parsed, error) {
	src, converted, err := toUTF8(data, "")
	if err != nil {
		return nil, err
	}
	offset := len(data) - len(src)
	if converted {
		src, offset = []byte(cleaned(string(src))), 0
		if !hasText(src) { // nothing but control characters
			return nil, engine.ErrEmptyDocument
		}
	}
	var p *engine.Parsed
	switch k.format {
	case formatMarkdown:
		p = markdown(src, offset)
	case formatJSON, formatJSONL:
		if p, err = jsonLeaves(ctx, src, offset); err != nil {
			return nil, err
		}
	default:
		p = &engine.Parsed{Verbatim: true, Blocks: []engine.Block{{Text: string(src), Start: offset, End: offset + len(src)}}}
	}
	if converted {
		p.Text = string(src)
	}
	return p, nil
}

// within takes a file within a file into a text, under its name. A file that is not
// read is named in a warning; one that breaks a limit ends the reading of the whole.
func (r *reader) within(ctx context.Context, t *draft, name string, data []byte) error {
	if r.level >= r.limits.ArchiveLevels+1 {
		return tooLarge("%s: files are within files more than %d deep", shortName(name), r.limits.ArchiveLevels)
	}
	k, err := detect(name, data)
	if err == nil && k.format == formatZip && r.level >= r.limits.ArchiveLevels {
		return tooLarge("%s: archives are within archives more than %d deep", shortName(name), r.limits.ArchiveLevels)
	}
	var p *engine.Parsed
	if err == nil {
		inner := *r
		inner.level++
		p, err = inner.readAs(ctx, k, data)
	}
	switch {
	case err == nil:
		t.include(shortName(name), p)
		t.blank()
		return t.err()
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, engine.ErrTooLarge):
		return fmt.Errorf("%s: %w", shortName(name), err)
	case errors.Is(err, engine.ErrEmptyDocument):
		return nil
	}
	t.warn(shortName(name) + " was not read: " + firstSentence(err.Error()))
	return nil
}

// zip reads every file of an archive that is of a type that is read.
func (r *reader) zip(ctx context.Context, a *archive) (*engine.Parsed, error) {
	t := newDraft(r.limits)
	r.left = a.left
	for _, f := range a.entries {
		if strings.HasPrefix(f.Name, "__MACOSX/") {
			continue
		}
		data, err := a.unpack(f, a.limits.EntryBytes)
		if err != nil {
			if errors.Is(err, engine.ErrUnsupportedType) {
				t.warn(shortName(f.Name) + " was not read: " + firstSentence(err.Error()))
				continue
			}
			return nil, err
		}
		if err := r.within(ctx, t, f.Name, data); err != nil {
			return nil, err
		}
	}
	return t.done()
}

func firstSentence(s string) string {
	s, _, _ = strings.Cut(s, "; ")
	return s[:runesWithin(s, 160)]
}
