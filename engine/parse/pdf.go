//go:build !nopdf

package parse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/klippa-app/go-pdfium"
	pdferrors "github.com/klippa-app/go-pdfium/errors"
	"github.com/klippa-app/go-pdfium/requests"
	"github.com/klippa-app/go-pdfium/webassembly"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"alcove/engine"
)

// pdfWorld is PDFium as a WebAssembly module: without files, network or clock, in a
// memory of its own. It is made at the first PDF. One instance reads one document and
// is thrown away.
type pdfWorld struct {
	mu   sync.Mutex
	pool pdfium.Pool
}

var pdfs pdfWorld

// wasmPage is the unit of a module's memory.
const wasmPage = 64 << 10

// start compiles the module, or takes it from the cache, which depends on the
// processor and the version of the runtime.
func (w *pdfWorld) start(o Options) (pdfium.Pool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pool != nil {
		return w.pool, nil
	}
	c := wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2 | experimental.CoreFeaturesExceptionHandling).
		WithMemoryLimitPages(uint32(o.Limits.Memory / 2 / wasmPage)).
		WithCloseOnContextDone(true)
	if o.CacheDir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(o.CacheDir)
		if err != nil {
			return nil, fmt.Errorf("cache of the PDF reader: %w", err)
		}
		c = c.WithCompilationCache(cache)
	}
	pool, err := webassembly.Init(webassembly.Config{
		MinIdle: 0, MaxIdle: 1, MaxTotal: 4,
		RuntimeConfig: c, FSConfig: wazero.NewFSConfig(), // no folder is shown to it
		Stdout: io.Discard, Stderr: io.Discard,
	})
	if err != nil {
		return nil, fmt.Errorf("start the PDF reader: %w", err)
	}
	w.pool = pool
	return pool, nil
}

// warm makes the PDF reader ready, which takes seconds where the cache is empty.
func warm(o Options) error {
	_, err := pdfs.start(o)
	return err
}

// pdf reads a PDF page by page, in the order in which each page draws its text. A page
// without text is counted in a warning: it may be a picture of one. Forms and
// annotations are left out, scripts are not run, links are not followed.
func pdf(ctx context.Context, data []byte, o Options) (*engine.Parsed, error) {
	pool, err := pdfs.start(o)
	if err != nil {
		return nil, err
	}
	inst, err := pool.GetInstanceWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("start the PDF reader: %w", err)
	}
	// A call into the module ends when the instance is killed, and in no other way.
	stop := context.AfterFunc(ctx, func() { _ = inst.Kill() })
	defer func() {
		if stop() {
			_ = inst.Close()
		}
	}()
	p, err := pdfPages(ctx, inst, data, o.Limits)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return p, err
}

func pdfPages(ctx context.Context, inst pdfium.Pdfium, data []byte, l Limits) (*engine.Parsed, error) {
	doc, err := inst.OpenDocument(&requests.OpenDocument{File: &data})
	switch {
	case errors.Is(err, pdferrors.ErrPassword), errors.Is(err, pdferrors.ErrSecurity):
		return nil, errLocked("the PDF")
	case err != nil:
		return nil, broken("PDF", err)
	}
	count, err := inst.FPDF_GetPageCount(&requests.FPDF_GetPageCount{Document: doc.Document})
	if err != nil {
		return nil, broken("PDF", err)
	}
	if count.PageCount > l.Pages {
		return nil, tooLarge("%d pages; %d are allowed", count.PageCount, l.Pages)
	}
	t := newDraft(l)
	if m, err := inst.FPDF_GetMetaText(&requests.FPDF_GetMetaText{Document: doc.Document, Tag: "Title"}); err == nil {
		t.title = oneLine(cleaned(m.Value))
	}
	bare, unread := 0, 0
	for i := range count.PageCount {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		page, err := inst.GetPageText(&requests.GetPageText{Page: requests.Page{ByIndex: &requests.PageByIndex{Document: doc.Document, Index: i}}})
		if err != nil {
			unread++
			continue
		}
		text := pdfText(page.Text)
		if strings.TrimSpace(text) == "" {
			bare++
			continue
		}
		t.at(engine.Place{Page: i + 1})
		t.write(text)
		t.blank()
		if t.full {
			return nil, t.err()
		}
	}
	if unread > 0 {
		t.warn(fmt.Sprintf("%d of %d pages are damaged and were not read", unread, count.PageCount))
	}
	if bare > 0 {
		t.warn(fmt.Sprintf("%d of %d pages hold no text; pictures of pages are not read", bare, count.PageCount))
	}
	return t.done()
}

// pdfText joins words that were divided at a line's end, which PDFium marks.
func pdfText(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		j := strings.IndexAny(s[i:], "\x02\ufffe")
		if j < 0 {
			b.WriteString(s[i:])
			break
		}
		b.WriteString(s[i : i+j])
		i += j
		if s[i] == 2 {
			i++
		} else {
			i += len("\ufffe")
		}
		if i < len(s) && s[i] == '\n' {
			i++
		}
	}
	lines := strings.SplitAfter(b.String(), "\n")
	for i, l := range lines {
		if t := strings.TrimRight(l, " \t\n"); len(t) != len(l) && strings.HasSuffix(l, "\n") {
			lines[i] = t + "\n"
		}
	}
	return strings.Join(lines, "")
}
