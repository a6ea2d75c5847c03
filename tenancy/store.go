package tenancy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"alcove/tenancy/keyspace"
)

const (
	defaultMaxKBsPerTenant = 50 // ADR 007's MAX_KB_PER_TENANT
	defaultMaxTenants      = 10_000
	maxRetentionDays       = 36_500
	// hardMaxKBsPerTenant bounds what a quota can allow: a tenant's knowledge bases
	// are all buried before its deletion is answered.
	hardMaxKBsPerTenant = 10_000
)

// Options says how a Store is opened. Zero values take the defaults named.
type Options struct {
	Dir      string // the data folder; "" keeps everything in memory, for tests
	Logger   *slog.Logger
	Keyspace keyspace.Options // Dir and an absent Logger are filled in from above
	// TokenSecret signs tokens. Empty: made at first start and kept in Dir.
	TokenSecret []byte
	// TokenKeys signs and verifies tokens instead of a secret, with RS256 or EdDSA.
	TokenKeys       *TokenKeys
	TokenTTL        time.Duration // of tokens that ask for none; 24 h
	Now             func() time.Time
	MaxKBsPerTenant int     // what a new tenant's quota says; 50
	MaxTenants      int     // 10,000
	Models          Models  // that tenants and knowledge bases may choose from
	MaxDocuments    int64   // of a new tenant; 100,000
	MaxStorageGB    float64 // of a new tenant, 10^9 bytes; 100
	// RateLimits hold for every tenant whose quota says nothing else; zero is none.
	RateLimits RateLimits
	// Everybody is the id of the one tenant whose admin every request is that brings no
	// credential at all; "" asks everybody for one. For a server that nobody else reaches.
	Everybody string

	// AuditOff records nothing but that nothing is recorded (ENABLE_AUDIT_LOGGING=false).
	AuditOff bool
	// AuditRetentionDays is how many whole days of the audit log are kept; 0 keeps all.
	AuditRetentionDays int
	// CheckpointFile is where signed checkpoints of the audit log are appended, to be
	// kept off the machine. Empty: audit.checkpoints in Dir.
	CheckpointFile string

	hashCost    hashCost // of passwords; tests take less
	holdCleaner bool     // tests look at a store whose dead are not yet swept
	upgrades    []upgrade
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.TokenTTL == 0 {
		o.TokenTTL = defaultTokenTTL
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxKBsPerTenant == 0 {
		o.MaxKBsPerTenant = defaultMaxKBsPerTenant
	}
	if o.MaxTenants == 0 {
		o.MaxTenants = defaultMaxTenants
	}
	if o.MaxDocuments == 0 {
		o.MaxDocuments = defaultMaxDocuments
	}
	if o.MaxStorageGB == 0 {
		o.MaxStorageGB = defaultMaxStorageGB
	}
	if o.upgrades == nil {
		o.upgrades = upgrades
	}
	o.Keyspace.Dir, o.Keyspace.Also, o.Keyspace.Lasting = o.Dir, besideData, lastingFiles
	if o.Keyspace.Logger == nil {
		o.Keyspace.Logger = o.Logger
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.TokenTTL < time.Second || o.TokenTTL > maxTokenTTL:
		return badField("TokenTTL", fmt.Sprintf("must be from 1s to %s", maxTokenTTL))
	case o.MaxKBsPerTenant < 1 || o.MaxKBsPerTenant > hardMaxKBsPerTenant:
		return badField("MaxKBsPerTenant", fmt.Sprintf("must be from 1 to %d", hardMaxKBsPerTenant))
	case o.AuditRetentionDays < 0 || o.AuditRetentionDays > maxRetentionDays:
		return badField("AuditRetentionDays", fmt.Sprintf("must be from 0 to %d", maxRetentionDays))
	case o.MaxTenants < 1:
		return badField("MaxTenants", "must be at least 1")
	case o.MaxDocuments < 1:
		return badField("MaxDocuments", "must be at least 1")
	case !(o.MaxStorageGB > 0):
		return badField("MaxStorageGB", "must be above 0")
	}
	return nil
}

// Store is the house: who there is, who may do what, and the only doors to a
// knowledge base's records. Safe for concurrent use.
type Store struct {
	opt      Options
	log      *slog.Logger
	now      func() time.Time
	db       *keyspace.DB
	cat      *catalogue
	keys     atomic.Pointer[TokenKeys]
	source   SecretSource
	tokens   *jwt.Parser
	pepper   []byte
	noKey    keyEntry // what an unknown key is compared with
	uses     *keyUses
	auditKey []byte

	hasher *hasher
	tries  *lockout

	changing chan struct{} // one change of the catalogue at a time
	hooks    struct {
		sync.RWMutex
		kbGone []func(SpaceID)
	}
	once       onceCalls
	lastBackup atomic.Pointer[BackupInfo] // since the start
	clerk      *clerk
	notary     *notary
	cleaner    *cleaner
	limits     *limits // what is counted in memory: rates, calls of the month, running queries
	closed     sync.Once
}

// Open opens the store in o.Dir, making it and its secrets if there is none, and goes
// on with deletions that were interrupted. It returns ErrWeakSecret for a TokenSecret
// that could be guessed, and keyspace's errors for a folder that is in use, damaged
// or newer. A folder of an earlier format is brought forward first, see bringForward.
func Open(o Options) (*Store, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("tenancy options: %w", err)
	}
	if len(o.TokenSecret) > 0 { // before the folder is touched
		if err := checkTokenSecret(o.TokenSecret); err != nil {
			return nil, err
		}
	}
	db, err := keyspace.Open(o.Keyspace)
	if err != nil {
		return nil, err
	}
	s := &Store{
		opt: o, log: o.Logger, now: o.Now, db: db, cat: newCatalogue(),
		noKey: keyEntry{digest: [32]byte(randomBytes(32)), old: [32]byte(randomBytes(32))}, hasher: newHasher(o.hashCost), tries: newLockout(o.Now), changing: make(chan struct{}, 1),
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// start makes the secrets, which only whoever holds the folder's lock may do first,
// and reads the catalogue.
func (s *Store) start() error {
	if err := s.startKeys(); err != nil {
		return err
	}
	var err error
	if s.pepper, _, err = secretFile(s.opt.Dir, keyPepperFile); err != nil {
		return err
	}
	if s.auditKey, _, err = secretFile(s.opt.Dir, auditKeyFile); err != nil {
		return err
	}
	sign, _, err := secretFile(s.opt.Dir, auditSignFile)
	if err != nil {
		return err
	}
	if s.notary, err = newNotary(s, sign); err != nil {
		return err
	}
	if err := s.bringForward(context.Background()); err != nil {
		return err
	}
	if err := s.db.View(s.cat.load); err != nil {
		return fmt.Errorf("open the catalogue: %w", err)
	}
	if err := s.notary.start(context.Background()); err != nil {
		return err
	}
	s.uses = startKeyUses(s)
	s.clerk = startClerk(s)
	s.cleaner = startCleaner(s)
	s.limits = startLimits(s)
	return nil
}

// startKeys gets what tokens are signed with: the keys handed in, or a secret.
func (s *Store) startKeys() error {
	keys := s.opt.TokenKeys
	if keys != nil {
		s.source.Configured = true
	} else {
		secret, source, err := SecretFrom(s.opt.Dir, s.opt.TokenSecret)
		if err != nil {
			return err
		}
		if err := notePrint(s.opt.Dir, secret); err != nil {
			return err
		}
		keys, s.source = SecretKeys(secret), source
	}
	s.tokens = tokenParser(keys.method.Alg(), s.now)
	s.keys.Store(keys)
	return nil
}

// Close stops the background work, writes down what is still to be recorded, and
// closes the database. Spaces are of no use afterwards. Calling it again does nothing.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		s.cleaner.stop()
		s.limits.stop()
		s.clerk.stop()
		s.notary.stop()
		s.uses.stop()
		err = s.db.Close()
	})
	return err
}

// TokenSecretSource says where the token secret in use came from.
func (s *Store) TokenSecretSource() SecretSource { return s.source }

// Stats returns what the database counts: commits, merges, bytes.
func (s *Store) Stats() Stats { return s.db.Stats() }

// Stats is what the database counts.
type Stats = keyspace.Stats

// stamp is the time as records hold it.
func (s *Store) stamp() time.Time { return s.now().UTC().Truncate(time.Millisecond) }

// change runs f in the committer and then has the catalogue in memory reread what f
// touched, whether or not f's writes were taken: what the store says is what counts.
// Changes of the catalogue go one at a time, so that no older reading is put over a
// newer one; they are rare and a sync each.
func (s *Store) change(ctx context.Context, f func(*keyspace.Tx) error, rereads ...func(*keyspace.Tx) error) error {
	select {
	case s.changing <- struct{}{}:
		defer func() { <-s.changing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	err := s.db.Commit(ctx, f)
	for _, reread := range rereads {
		if rerr := s.db.View(reread); rerr != nil {
			return errors.Join(err, rerr)
		}
	}
	return err
}

// view runs f on a snapshot, unless ctx is over.
func (s *Store) view(ctx context.Context, f func(*keyspace.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.db.View(f)
}

// OnKBGone registers f to be called for each knowledge base that is deleted, after
// the deletion is stored and before it is answered: from then on every Tx of it is
// refused, and f may wait until those who are reading have let go. f runs on the
// caller's goroutine and must not call the Store's management.
func (s *Store) OnKBGone(f func(SpaceID)) {
	s.hooks.Lock()
	defer s.hooks.Unlock()
	s.hooks.kbGone = append(s.hooks.kbGone, f)
}

func (s *Store) kbGone(id SpaceID) {
	s.hooks.RLock()
	defer s.hooks.RUnlock()
	for _, f := range s.hooks.kbGone {
		f(id)
	}
}

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }

func beU64(b []byte) uint64 { return binary.BigEndian.Uint64(b) }
