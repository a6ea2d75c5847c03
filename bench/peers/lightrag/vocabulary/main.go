// Command vocabulary writes the tokenizer file that LightRAG would fetch when it first
// starts, out of the copy of the same vocabulary that alcove is linked with: a line
// for each token, its bytes in base64 and its rank. tiktoken checks the file's digest
// before it uses it, so that both servers count the same tokens and nothing is fetched.
//
//	vocabulary FOLDER    # FOLDER is what TIKTOKEN_CACHE_DIR names
package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tiktoken-go/tokenizer"
)

const (
	// source is what tiktoken names the file after, by its SHA-1.
	source = "https://openaipublic.blob.core.windows.net/encodings/o200k_base.tiktoken"
	// ranks is how many tokens o200k_base has, beside the special ones.
	ranks = 199_998
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: vocabulary FOLDER")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "vocabulary:", err)
		os.Exit(1)
	}
}

func write(dir string) (err error) {
	codec, err := tokenizer.Get(tokenizer.O200kBase)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%x", sha1.Sum([]byte(source)))))
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	w := bufio.NewWriter(f)
	for rank := range uint(ranks) {
		token, err := codec.Decode([]uint{rank})
		if err != nil {
			return fmt.Errorf("token %d: %w", rank, err)
		}
		fmt.Fprintf(w, "%s %d\n", base64.StdEncoding.EncodeToString([]byte(token)), rank)
	}
	return w.Flush()
}
