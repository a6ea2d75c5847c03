package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"alcove/tenancy"
)

const (
	// maxAnswerBytes is the largest answer that is stored; it keeps the record
	// under the store's 256 KiB. A larger one is used and forgotten.
	maxAnswerBytes = 200 << 10
	// answerRecords is how many records the release of one answer may touch.
	answerRecords = 4
	// maxEvictions bounds how many of the oldest answers one transaction looks at.
	maxEvictions = 64
)

// answerKey names a stored answer: the SHA-256 of the whole request.
type answerKey [32]byte

// answerScope says for whom answers are stored. It travels in the context, so
// that an Extractor made of a Chatter needs to know nothing of stores.
type answerScope struct {
	eng   *Engine
	space *tenancy.Space
	v     version
}

type answerScopeKey struct{}

// withAnswers lets model calls under ctx find and keep their answers for a version.
func (e *Engine) withAnswers(ctx context.Context, s *tenancy.Space, v version) context.Context {
	return context.WithValue(ctx, answerScopeKey{}, answerScope{e, s, v})
}

// storedChat is Chatter.Chat for work on documents: an answer that was paid for
// is not asked for again. It is stored under the hash of the whole request
// before it is used. A truncated reply is used but not stored.
func storedChat(ctx context.Context, c Chatter, r ChatRequest) (ChatReply, error) {
	scope, ok := ctx.Value(answerScopeKey{}).(answerScope)
	if !ok {
		return c.Chat(ctx, r, nil)
	}
	request := marshalRecord(struct {
		Model   string
		Request ChatRequest
	}{c.Model(), r})
	var reply ChatReply
	b, err := scope.eng.stored(ctx, scope.space, scope.v, sha256.Sum256(request), func() ([]byte, error) {
		var err error
		if reply, err = c.Chat(ctx, r, nil); err == nil {
			spend(ctx, reply.PromptTokens+reply.ReplyTokens)
		}
		if err != nil || reply.Truncated {
			return nil, err
		}
		return json.Marshal(reply)
	})
	if err != nil || b == nil {
		return reply, err
	}
	reply = ChatReply{}
	return reply, unmarshalRecord("stored answer", b, &reply)
}

// stored returns the answer to a request, asking f only when the store does not
// have it. A nil answer of f is not stored. The answer stays as long as a
// version that asked for it does, unless the budget for answers runs out. It
// returns errSuperseded when the version is not wanted any more.
func (e *Engine) stored(ctx context.Context, s *tenancy.Space, v version, key answerKey, f func() ([]byte, error)) ([]byte, error) {
	var answer []byte
	used := false
	err := s.View(ctx, func(tx *tenancy.Tx) error {
		b, err := tx.Get(kindAnswer, key[:])
		if errors.Is(err, tenancy.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(b) < 8 {
			return fmt.Errorf("%w: stored answer of %d bytes", ErrDamaged, len(b))
		}
		answer = b[8:]
		_, err = tx.Get(kindAnswerUse, useKey(key, v))
		used = err == nil
		if errors.Is(err, tenancy.ErrNotFound) {
			err = nil
		}
		return err
	})
	if err != nil || used {
		return answer, err
	}
	if answer == nil {
		if answer, err = f(); err != nil || answer == nil || len(answer) > maxAnswerBytes {
			return answer, err
		}
	}
	// It is paid for: also when the work is stopped at this moment it is kept.
	return answer, e.change(context.WithoutCancel(ctx), s, func(c *change) error { return c.keepAnswer(v, key, answer, e.o.AnswerCacheBytes) })
}

func useKey(key answerKey, v version) []byte { return append(bytes.Clone(key[:]), v.prefix()...) }

func usePrefix(v version, key answerKey) []byte { return append(v.prefix(), key[:]...) }

// keepAnswer stores an answer, notes who asked and makes room.
func (c *change) keepAnswer(v version, key answerKey, answer []byte, budget int64) error {
	d, err := readDocument(c.tx, v.doc)
	if errors.Is(err, ErrNotFound) || err == nil && !d.names(v.gen) {
		return errSuperseded
	}
	if err != nil {
		return err
	}
	if _, err := c.tx.Get(kindAnswer, key[:]); errors.Is(err, tenancy.ErrNotFound) {
		age := key64(uint64(c.now.UnixNano()))
		if err := c.tx.Set(kindAnswer, key[:], append(bytes.Clone(age), answer...)); err != nil {
			return err
		}
		if err := c.tx.Set(kindAnswerAge, append(age, key[:]...), nil); err != nil {
			return err
		}
		c.st.AnswerBytes += int64(len(answer))
	} else if err != nil {
		return err
	}
	if err := c.set(entry{kindAnswerUse, useKey(key, v)}, entry{kindAnswerDoc, usePrefix(v, key)}); err != nil {
		return err
	}
	return c.evictAnswers(budget)
}

// evictAnswers removes the oldest answers while there are too many, but none
// that unfinished work may ask for.
func (c *change) evictAnswers(budget int64) error {
	if c.st.AnswerBytes <= budget {
		return nil
	}
	var oldest []answerKey
	err := c.tx.Scan(kindAnswerAge, tenancy.Scan{KeysOnly: true, Limit: maxEvictions}, func(rest, _ []byte) error {
		if len(rest) != 40 {
			return fmt.Errorf("%w: answer age key of %d bytes", ErrDamaged, len(rest))
		}
		oldest = append(oldest, answerKey(rest[8:]))
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range oldest {
		if c.st.AnswerBytes <= budget {
			return nil
		}
		users, err := c.usersOf(key)
		if err != nil {
			return err
		}
		busy := false
		for _, v := range users {
			d, err := readDocument(c.tx, v.doc)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			busy = busy || err == nil && d.Pending == v.gen
		}
		if busy {
			continue
		}
		for _, v := range users {
			if err := c.unset(entry{kindAnswerUse, useKey(key, v)}, entry{kindAnswerDoc, usePrefix(v, key)}); err != nil {
				return err
			}
		}
		if err := c.removeAnswer(key); err != nil {
			return err
		}
	}
	return nil
}

// maxAnswerUsers bounds how many versions are looked at for one answer; an
// answer with more is left where it is.
const maxAnswerUsers = 100

func (c *change) usersOf(key answerKey) (users []version, err error) {
	err = c.tx.Scan(kindAnswerUse, tenancy.Scan{Prefix: key[:], KeysOnly: true, Limit: maxAnswerUsers}, func(rest, _ []byte) error {
		if len(rest) != 56 {
			return fmt.Errorf("%w: answer use key of %d bytes", ErrDamaged, len(rest))
		}
		users = append(users, version{docKey(rest[32:48]), binary.BigEndian.Uint64(rest[48:])})
		return nil
	})
	return users, err
}

// releaseAnswer takes a version off the users of an answer, rest being a
// kindAnswerDoc key; the answer goes with its last user.
func (c *change) releaseAnswer(v version, rest []byte) error {
	if len(rest) != 56 {
		return fmt.Errorf("%w: answer key of %d bytes", ErrDamaged, len(rest))
	}
	key := answerKey(rest[24:])
	if err := c.unset(entry{kindAnswerDoc, rest}, entry{kindAnswerUse, useKey(key, v)}); err != nil {
		return err
	}
	users, err := c.usersOf(key)
	if err != nil || len(users) > 0 {
		return err
	}
	return c.removeAnswer(key)
}

func (c *change) removeAnswer(key answerKey) error {
	b, err := c.tx.Get(kindAnswer, key[:])
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(b) < 8 {
		return fmt.Errorf("%w: stored answer of %d bytes", ErrDamaged, len(b))
	}
	c.st.AnswerBytes -= int64(len(b) - 8)
	return c.unset(entry{kindAnswer, key[:]}, entry{kindAnswerAge, append(bytes.Clone(b[:8]), key[:]...)})
}
