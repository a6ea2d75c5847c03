package bench

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Passage is one document of a question set.
type Passage struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Text  string `json:"text"`
}

// Question is a question with the passages that answer it.
type Question struct {
	ID       string   `json:"id"`
	Question string   `json:"question"`
	Gold     []string `json:"gold_doc_ids"`
}

// Set is a corpus with its questions.
type Set struct {
	Name      string
	Passages  []Passage
	Questions []Question
}

// maxLineBytes bounds one line of a set's files.
const maxLineBytes = 16 << 20

// ReadSet reads a set from a corpus file and a question file; first > 0 keeps
// only that many passages from the front.
func ReadSet(name, corpus, questions string, first int) (Set, error) {
	s := Set{Name: name}
	var err error
	if s.Passages, err = readLines[Passage](corpus); err != nil {
		return s, err
	}
	if first > 0 && first < len(s.Passages) {
		s.Passages = s.Passages[:first]
	}
	s.Questions, err = readLines[Question](questions)
	return s, err
}

// KnownSets reads the question sets of a data folder: 2wiki with its first 780
// passages and whole, and musique100. A set whose files are absent is left out.
func KnownSets(data string) ([]Set, error) {
	var out []Set
	for _, k := range []struct {
		name, folder, corpus string
		first                int
	}{
		{"2wiki-780", "2wiki", "corpus6119.jsonl", 780},
		{"2wiki-6119", "2wiki", "corpus6119.jsonl", 0},
		{"musique", "musique100", "corpus.jsonl", 0},
	} {
		dir := filepath.Join(data, "qa", k.folder)
		s, err := ReadSet(k.name, filepath.Join(dir, k.corpus), filepath.Join(dir, "questions.jsonl"), k.first)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds none of the known question sets (qa/2wiki, qa/musique100)", data)
	}
	return out, nil
}

// Untitled returns the set with every title blanked: what to expect of prose
// that does not begin with its subject's name.
func (s Set) Untitled() Set {
	out := Set{Name: s.Name + " untitled", Questions: s.Questions, Passages: make([]Passage, len(s.Passages))}
	for i, p := range s.Passages {
		p.Title = ""
		out.Passages[i] = p
	}
	return out
}

// Copies returns the passages n times over, each time under other ids.
func Copies(ps []Passage, n int) []Passage {
	out := make([]Passage, 0, n*len(ps))
	for i := range n {
		for _, p := range ps {
			if i > 0 {
				p.ID = fmt.Sprintf("%s-%d", p.ID, i)
			}
			out = append(out, p)
		}
	}
	return out
}

func readLines[T any](path string) ([]T, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, maxLineBytes)
	var out []T
	for n := 1; sc.Scan(); n++ {
		var v T
		if err := json.Unmarshal(sc.Bytes(), &v); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", path, n, err)
		}
		out = append(out, v)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}
