package lightrag

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// The files of a workspace that are read. Others are left alone.
const (
	fileDocs      = "kv_store_full_docs.json"
	fileChunks    = "kv_store_text_chunks.json"
	fileStatus    = "kv_store_doc_status.json"
	fileAnswers   = "kv_store_llm_response_cache.json"
	fileEntities  = "kv_store_full_entities.json"
	fileRelations = "kv_store_full_relations.json"
	fileOfEntity  = "kv_store_entity_chunks.json"
	fileOfPair    = "kv_store_relation_chunks.json"
	vectorsChunks = "vdb_chunks.json"
	vectorsEntity = "vdb_entities.json"
	vectorsPair   = "vdb_relationships.json"
	fileGraph     = "graph_chunk_entity_relation.graphml"
)

var known = []string{
	fileDocs, fileChunks, fileStatus, fileAnswers, fileEntities, fileRelations, fileOfEntity, fileOfPair,
	vectorsChunks, vectorsEntity, vectorsPair, fileGraph,
}

// enough are the files of which one makes a folder a workspace.
var enough = []string{fileDocs, fileChunks, vectorsChunks, fileGraph}

// maxWorkspaces bounds the sub-folders of a folder that are looked at.
const maxWorkspaces = 10_000

// Folder is a working folder of LightRAG, open for reading. Nothing outside of it is
// reached, whatever links it holds.
type Folder struct {
	root   *os.Root
	limits Limits
}

// OpenFolder opens a working folder (LightRAG's WORKING_DIR, rag_storage). The caller
// closes it.
func OpenFolder(dir string, l Limits) (*Folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Folder{root: root, limits: l.withDefaults()}, nil
}

// Close closes the folder.
func (f *Folder) Close() error { return f.root.Close() }

// Workspaces returns the names of the workspaces that are there, "" for the one whose
// files lie in the folder itself, in order. A folder without any is an error.
func (f *Folder) Workspaces() ([]string, error) {
	var out []string
	if f.holds("") {
		out = append(out, "")
	}
	all, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	if len(all) > maxWorkspaces {
		return nil, fmt.Errorf("%s has %d entries; at most %d are looked at", f.root.Name(), len(all), maxWorkspaces)
	}
	for _, e := range all {
		if name := e.Name(); e.IsDir() && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "__") && f.holds(name) {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no working folder of LightRAG: none of %s is there or in a sub-folder", f.root.Name(), strings.Join(enough, ", "))
	}
	return out, nil
}

// holds reports whether a folder is a workspace.
func (f *Folder) holds(name string) bool {
	return slices.ContainsFunc(enough, func(file string) bool {
		info, err := f.root.Stat(path.Join(name, file))
		return err == nil && info.Mode().IsRegular()
	})
}

// Print is a hash over the files of a workspace that are read: two equal prints are
// equal content.
func (f *Folder) Print(ctx context.Context, workspace string) (string, error) {
	h := sha256.New()
	for _, file := range known {
		err := f.open(path.Join(workspace, file), func(r io.Reader, size int64) error {
			fmt.Fprintf(h, "%s\x00%d\x00", file, size)
			_, err := io.Copy(h, &cancelled{ctx, r})
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// open reads one file; it is fs.ErrNotExist when there is none.
func (f *Folder) open(name string, read func(r io.Reader, size int64) error) error {
	file, err := f.root.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return &Fault{name, "byte 0", errors.New("it is not a regular file")}
	}
	if info.Size() > f.limits.FileBytes {
		return &Fault{name, "byte 0", fmt.Errorf("%w: %d bytes; at most %d are read", errLimit, info.Size(), f.limits.FileBytes)}
	}
	return read(file, info.Size())
}

// cancelled ends a read when its context does.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
