package engine

import (
	"container/list"
	"sync"
	"unsafe"
)

// Kept contributions may take the keptShare-th part of a copy's own size on top of
// it, and keptLeast in any case: enough for the ones that questions come back to.
const (
	keptShare = 8
	keptLeast = 256 << 10
)

// sayings are contributions of one resident copy that searches and profile jobs have read, decoded and
// bounded in bytes; the one that was not used for longest goes first. What is kept
// is what the store says, of permitted and of forbidden documents alike: who may
// see which of them is asked before. It goes with the chunk: whatever changes a
// contribution, new text, a second reading in place, the end of its document, or a
// name that people changed, applies the document to the copy again and so gives
// the chunk up. A contribution is put in by those alone who hold the copy for
// reading together with a snapshot of its very generation (openKB.read). Safe for
// concurrent use; what it returns is shared and must not be changed.
type sayings struct {
	mu     sync.Mutex
	of     map[uint32]*list.Element // of *saying, by chunk
	recent list.List                // last used first
	used   int64
}

type saying struct {
	chunk uint32
	said  *contribution
	bytes int64
}

// sayingBytes is about what one takes beside its contribution.
const sayingBytes = 200

// cost is what a decoded contribution takes, its record being of so many bytes.
func (c *contribution) cost(record int) int64 {
	return int64(record) + int64(len(c.Entities))*int64(unsafe.Sizeof(EntityMention{})) +
		int64(len(c.Relations))*int64(unsafe.Sizeof(RelationMention{})) + sayingBytes
}

// get returns what a chunk says, nil when that is not kept.
func (s *sayings) get(chunk uint32) *contribution {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.of[chunk]
	if e == nil {
		return nil
	}
	s.recent.MoveToFront(e)
	return e.Value.(*saying).said
}

// put keeps what a chunk says, within most bytes for all. One of more than a tenth
// of that is not kept: it would push out too much.
func (s *sayings) put(chunk uint32, c *contribution, bytes, most int64) {
	if bytes > most/10 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[chunk] != nil {
		return // of another search that read it meanwhile
	}
	if s.of == nil {
		s.of = map[uint32]*list.Element{}
	}
	s.of[chunk] = s.recent.PushFront(&saying{chunk, c, bytes})
	s.used += bytes
	for s.used > most {
		s.drop(s.recent.Back())
	}
}

// forget drops what a chunk said.
func (s *sayings) forget(chunk uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.of[chunk]; e != nil {
		s.drop(e)
	}
}

func (s *sayings) drop(e *list.Element) {
	x := s.recent.Remove(e).(*saying)
	delete(s.of, x.chunk)
	s.used -= x.bytes
}

// empty forgets everything and returns the bytes that it took.
func (s *sayings) empty() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	freed := s.used
	s.of, s.used = nil, 0
	s.recent.Init()
	return freed
}

func (s *sayings) bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}
