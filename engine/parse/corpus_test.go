package parse

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"alcove/engine"
)

var updateFormats = flag.Bool("update", false, "write the table of docs/handbook/formats.md")

// TestMain is also the child process that reads one file.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "parse-child" {
		if err := ServeChild(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 3 && os.Args[1] == "dying-child" {
		die(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

// cacheDir keeps the compiled PDF reader between runs of the tests of one machine.
func cacheDir() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("alcove-test-pdf-%d", os.Getuid()))
}

// apart reads in child processes, as a server does.
func apart(t testing.TB, l Limits) engine.Parser {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	return New(Options{Child: []string{exe, "parse-child"}, CacheDir: cacheDir(), Limits: l})
}

// sample is a line of the manifest of the documents for parsers.
type sample struct {
	File      string `json:"file"`
	Feature   string `json:"feature"`
	Expected  string `json:"expected_behaviour"`
	Reference string `json:"reference"`
}

func (s sample) kind() string { return strings.TrimPrefix(filepath.Ext(s.File), ".") }

// samples is the corpus beside the repository; it is not part of it.
func samples(t testing.TB) (root string, out []sample) {
	t.Helper()
	root = filepath.Join("..", "..", "..", "shared", "data")
	f, err := os.Open(filepath.Join(root, "docs", "manifest.jsonl"))
	if err != nil {
		t.Skip("the corpus is not here: ", err)
	}
	defer f.Close()
	for r := bufio.NewScanner(f); r.Scan(); {
		var s sample
		require.NoError(t, json.Unmarshal(r.Bytes(), &s))
		out = append(out, s)
	}
	return root, out
}

var wordRE = regexp.MustCompile(`[\p{L}\p{N}]+`)

// placeholder stands in a reference where the document has a picture; its words are
// not the document's.
var placeholder = regexp.MustCompile(`<!--.*?-->`)

// textless are documents that hold no text, though their manifest expects some.
var textless = map[string]string{"poi__table_test.pptx": "every cell of its only table is empty"}

// recall is how much of the words of a reference a text has, each as often.
func recall(reference, text string) float64 {
	have := map[string]int{}
	for _, w := range wordRE.FindAllString(strings.ToLower(text), -1) {
		have[w]++
	}
	n, found := 0, 0
	for _, w := range wordRE.FindAllString(strings.ToLower(reference), -1) {
		n++
		if have[w] > 0 {
			have[w]--
			found++
		}
	}
	if n == 0 {
		return 1
	}
	return float64(found) / float64(n)
}

// outcome is what became of one sample.
type outcome struct {
	sample
	recall float64 // -1 without a reference
	took   time.Duration
	fault  string
}

// Every document of the corpus does what its manifest expects, in a process of its
// own with the limits of a server; the words of the references are found.
func TestCorpus(t *testing.T) {
	if testing.Short() || raced {
		t.Skip("reads 132 files, one after the other, each in its process")
	}
	root, all := samples(t)
	p := apart(t, Limits{})
	outcomes := make([]outcome, len(all))
	for i, s := range all {
		data, err := os.ReadFile(filepath.Join(root, s.File))
		require.NoError(t, err)
		o := outcome{sample: s, recall: -1}
		begun := time.Now()
		parsed, err := p.Parse(context.Background(), engine.File{Name: filepath.Base(s.File), Data: data})
		o.took = time.Since(begun)
		text := ""
		if err == nil {
			text = textOf(parsed)
		}
		o.fault = judge(s, parsed, text, err)
		if s.Reference != "" && err == nil {
			ref, err := os.ReadFile(filepath.Join(root, s.Reference))
			require.NoError(t, err)
			o.recall = recall(placeholder.ReplaceAllString(string(ref), ""), text)
		} else if s.Reference != "" {
			o.recall = 0
		}
		t.Logf("%-80s %-12s recall %5.2f  %4d ms  %v", s.File, s.Expected, o.recall, o.took.Milliseconds(), cmp.Or(errString(err), strings.Join(warningsOf(parsed), "; ")))
		outcomes[i] = o
	}
	table := tableOf(outcomes)
	t.Log("\n" + table)
	for _, o := range outcomes {
		if o.fault != "" {
			t.Errorf("%s (%s): %s", o.File, o.Feature, o.fault)
		}
	}
	var measured, pdfs []float64
	for _, o := range outcomes {
		if o.recall >= 0 {
			measured = append(measured, o.recall)
			if o.kind() == "pdf" {
				pdfs = append(pdfs, o.recall)
			}
		}
	}
	slices.Sort(measured)
	atLeast := func(v []float64, x float64) (n int) {
		for _, r := range v {
			if r >= x {
				n++
			}
		}
		return n
	}
	t.Logf("median %.3f, %d of %d at 0.90, PDF %d of %d at 0.95", measured[len(measured)/2], atLeast(measured, 0.9), len(measured), atLeast(pdfs, 0.95), len(pdfs))
	require.GreaterOrEqual(t, measured[len(measured)/2], 0.95)
	require.GreaterOrEqual(t, float64(atLeast(measured, 0.9)), 0.9*float64(len(measured)))
	require.GreaterOrEqual(t, float64(atLeast(pdfs, 0.95)), 22./25*float64(len(pdfs)))
	page := filepath.Join("..", "..", "docs", "handbook", "formats.md")
	const begin, end = "<!-- table of formats: go test ./engine/parse -run TestCorpus -update -->\n", "<!-- end of the table -->"
	b, err := os.ReadFile(page)
	require.NoError(t, err)
	before, rest, ok := bytes.Cut(b, []byte(begin))
	require.True(t, ok)
	was, after, ok := bytes.Cut(rest, []byte(end))
	require.True(t, ok)
	if *updateFormats {
		require.NoError(t, os.WriteFile(page, slices.Concat(before, []byte(begin), []byte(table), []byte(end), after), 0o644))
		return
	}
	require.Equal(t, string(was), table, "the table in the handbook is not what was measured: run with -update")
}

// judge says what a sample did that its manifest does not expect.
func judge(s sample, p *engine.Parsed, text string, err error) string {
	clean := err == nil
	for _, class := range errorKinds {
		clean = clean || errors.Is(err, class)
	}
	if !clean {
		return fmt.Sprintf("no clean error: %v", err)
	}
	switch s.Expected {
	case "text":
		if why := textless[filepath.Base(s.File)]; why != "" && err == nil && len(p.Warnings) > 0 {
			return ""
		}
		if err != nil || strings.TrimSpace(text) == "" {
			return fmt.Sprintf("no text: %v", err)
		}
	case "clean-error", "clean-error-bounded-memory":
		if err == nil {
			return "no error"
		}
	case "empty-with-warning":
		if err != nil || strings.TrimSpace(text) != "" || len(p.Warnings) == 0 {
			return fmt.Sprintf("text %.40q, warnings %q, error %v", text, warningsOf(p), err)
		}
	case "no-panic", "reject-or-both": // a crash is no clean error
	default:
		return "unknown expectation " + s.Expected
	}
	return ""
}

func textOf(p *engine.Parsed) string {
	var b strings.Builder
	for _, x := range p.Blocks {
		b.WriteString(x.Text + "\n")
	}
	return b.String()
}

func warningsOf(p *engine.Parsed) []string {
	if p == nil {
		return nil
	}
	return p.Warnings
}

func errString(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// tableOf is the table of the handbook.
func tableOf(all []outcome) string {
	byKind := map[string][]outcome{}
	for _, o := range all {
		byKind[o.kind()] = append(byKind[o.kind()], o)
		byKind["all"] = append(byKind["all"], o)
	}
	var b strings.Builder
	b.WriteString("| format | files | behave as expected | with a reference | median word recall | at 0.95 | at 0.90 | lowest |\n|---|---|---|---|---|---|---|---|\n")
	kinds := slices.SortedFunc(maps.Keys(byKind), func(a, b string) int {
		return cmp.Or(len(byKind[b])-len(byKind[a]), strings.Compare(a, b))
	})
	for _, k := range append(kinds[1:], "all") {
		good := 0
		var r []float64
		for _, o := range byKind[k] {
			if o.fault == "" {
				good++
			}
			if o.recall >= 0 {
				r = append(r, o.recall)
			}
		}
		slices.Sort(r)
		line := []string{k, fmt.Sprint(len(byKind[k])), fmt.Sprint(good), fmt.Sprint(len(r)), "", "", "", ""}
		if len(r) > 0 {
			n95, n90 := 0, 0
			for _, x := range r {
				if x >= 0.95 {
					n95++
				}
				if x >= 0.9 {
					n90++
				}
			}
			line[4], line[5], line[6], line[7] = fmt.Sprintf("%.3f", r[len(r)/2]), fmt.Sprint(n95), fmt.Sprint(n90), fmt.Sprintf("%.2f", r[0])
		}
		b.WriteString("| " + strings.Join(line, " | ") + " |\n")
	}
	return b.String()
}
