package tenancy

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
)

const (
	minPasswordChars = 12
	maxPasswordBytes = 256 // what is hashed must be bounded; a passphrase fits
	saltBytes        = 16
	hashBytes        = 32
	// oneTimeBytes makes a one-time password: 100 bits in 20 characters.
	oneTimeBytes = 13
)

// hashCost is what one hash takes. The default is the least OWASP's password storage
// cheat sheet allows for argon2id: 19 MiB, 2 passes, 1 lane; about 20 ms of a processor.
type hashCost struct {
	kib    uint32
	passes uint32
}

var defaultHashCost = hashCost{kib: 19 << 10, passes: 2}

// maxHashCost bounds what a stored hash may ask for: a damaged record must not take the
// machine's memory.
var maxHashCost = hashCost{kib: 1 << 20, passes: 64}

// maxHashWaiting is how many sign-ins wait for a hash; more are ErrBusy. One processor
// works them off in about a second.
const maxHashWaiting = 64

// hasher makes and checks hashes of passwords, few at a time: each takes 19 MiB and a
// processor, and who signs in must not take either from those who are in.
type hasher struct {
	cost    hashCost
	slots   chan struct{}
	waiting atomic.Int64
	runs    atomic.Int64 // hashes made: a refusal must cost what a success costs
	none    string       // what an unknown account's password is compared with
}

func newHasher(cost hashCost) *hasher {
	if cost == (hashCost{}) {
		cost = defaultHashCost
	}
	// A half of the processors, of which there may be fewer than threads.
	h := &hasher{cost: cost, slots: make(chan struct{}, max(1, min(runtime.GOMAXPROCS(0), runtime.NumCPU())/2))}
	// A hash of nothing anybody can type: its salt and sum are random.
	h.none = encodeHash(cost, randomBytes(saltBytes), randomBytes(hashBytes))
	return h
}

// run waits for a slot and runs f in it. Too many waiting is ErrBusy.
func (h *hasher) run(ctx context.Context, f func()) error {
	if h.waiting.Add(1) > maxHashWaiting {
		h.waiting.Add(-1)
		return ErrBusy
	}
	defer h.waiting.Add(-1)
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-h.slots }()
	h.runs.Add(1)
	f()
	return nil
}

// hash returns what is stored of a password: argon2id's PHC string.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := randomBytes(saltBytes)
	var sum []byte
	err := h.run(ctx, func() { sum = argon2.IDKey([]byte(password), salt, h.cost.passes, h.cost.kib, 1, hashBytes) })
	return encodeHash(h.cost, salt, sum), err
}

// matches reports whether password is the one that was hashed. An empty hash stands for
// an account that is not there or has no password: it never matches and costs the same.
func (h *hasher) matches(ctx context.Context, password, hash string) (bool, error) {
	known := hash != ""
	if !known {
		hash = h.none
	}
	cost, salt, want, err := decodeHash(hash)
	if err != nil {
		return false, err
	}
	var got []byte
	err = h.run(ctx, func() { got = argon2.IDKey([]byte(password), salt, cost.passes, cost.kib, 1, hashBytes) })
	return err == nil && subtle.ConstantTimeCompare(got, want) == 1 && known, err
}

func encodeHash(c hashCost, salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, c.kib, c.passes, b64.EncodeToString(salt), b64.EncodeToString(sum))
}

// decodeHash reads what encodeHash wrote; anything else is ErrDamaged, without a word of
// what it was.
func decodeHash(s string) (c hashCost, salt, sum []byte, err error) {
	bad := fmt.Errorf("%w: the hash of a password", ErrDamaged)
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return c, nil, nil, bad
	}
	if n, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=1", &c.kib, &c.passes); n != 2 || err != nil ||
		c.kib < 8 || c.kib > maxHashCost.kib || c.passes < 1 || c.passes > maxHashCost.passes {
		return c, nil, nil, bad
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if errors.Join(err1, err2) != nil || len(salt) != saltBytes || len(sum) != hashBytes {
		return c, nil, nil, bad
	}
	return c, salt, sum, nil
}

// checkPassword refuses a password that somebody chose badly. There are no rules on
// kinds of characters: NIST SP 800-63B section 3.1.1 asks for length and against them.
func checkPassword(field, user, password string) error {
	switch {
	case len(password) > maxPasswordBytes:
		return badField(field, fmt.Sprintf("must be at most %d bytes", maxPasswordBytes))
	case !utf8.ValidString(password):
		return badField(field, "is not valid UTF-8")
	case utf8.RuneCountInString(password) < minPasswordChars:
		return badField(field, fmt.Sprintf("must be at least %d characters", minPasswordChars))
	case strings.Contains(strings.ToLower(password), strings.ToLower(user)) && len(user) > 3:
		return badField(field, "must not hold the name of the account")
	}
	seen := map[rune]bool{}
	for _, r := range password {
		seen[r] = true
	}
	if len(seen) < 5 {
		return badField(field, "repeats a few characters")
	}
	return nil
}

// newOneTime makes a password that is to be replaced at once: read over a telephone, so
// in small letters and digits that are not taken for each other.
func newOneTime() string {
	s := keyIDEncoding.EncodeToString(randomBytes(oneTimeBytes))[:20]
	return s[:5] + "-" + s[5:10] + "-" + s[10:15] + "-" + s[15:]
}
