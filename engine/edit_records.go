package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"

	"alcove/tenancy"
)

// What people say of the graph is ground state beside the documents, in two
// kinds of record that documents never touch. An alias says that one name stands
// for what another stands for; an edit says what an entity or a relation is,
// whatever its contributions say. Nothing is rewritten: taking a record away
// takes its effect away.

const (
	// maxAliases, maxEdits and maxHandBytes bound what one knowledge base keeps of
	// them: all are read again when one changes.
	maxAliases   = 10_000
	maxEdits     = 10_000
	maxHandBytes = 16 << 20
	// handMark stands in the list of changes where a document's key stands
	// otherwise: aliases or edits changed.
	maxWeight = 1e9
)

var handMark docKey

// aliasRecord says that a name is another's (kindAlias). A name that has none
// stands for itself; each has at most one, and one is written only for a name
// that has none, towards a name that stands for itself and is another: so the
// records are a forest whatever is taken out of it, and no chain of them is a cycle.
type aliasRecord struct {
	Name   string `json:"name"`             // as written; its EntityID is what the key is a hash of
	Into   string `json:"into"`             // as written
	Rename bool   `json:"rename,omitempty"` // the entity is shown as Into from now on
	Merge  string `json:"merge"`            // the act that wrote it

	id, to string // identities of Name and Into, see newHand
}

// editRecord is what people wrote of an entity, or of a relation when Target is
// not "" (kindEdit). A nil field leaves what the contributions say.
type editRecord struct {
	Name        string   `json:"name"` // of the entity, or of the relation's source
	Target      string   `json:"target,omitempty"`
	Created     bool     `json:"created,omitempty"` // it is there without any contribution; a relation points from Name to Target
	Deleted     bool     `json:"deleted,omitempty"` // what contributions say of it is left out
	Shown       *string  `json:"shown,omitempty"`
	Type        *string  `json:"type,omitempty"`
	Description *string  `json:"description,omitempty"`
	Keywords    *string  `json:"keywords,omitempty"`
	Weight      *float64 `json:"weight,omitempty"`

	id, to  string // identities of Name and Target, see newHand
	print   uint64 // of a fold of edits
	forward bool   // of a fold: a created relation points from the smaller name to the larger
}

func aliasKey(identity string) []byte {
	h := sha256.Sum256([]byte(identity))
	return h[:16]
}

// pair is an unordered pair of identities, the smaller first.
type pair [2]string

func pairOf(a, b string) pair { return pair{min(a, b), max(a, b)} }

// key names a pair in one string: the length of the first name, then both.
func (p pair) key() string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(p[0])))) + p[0] + p[1]
}

func (e *editRecord) pair() pair { return pairOf(EntityID(e.Name), EntityID(e.Target)) }

// key is where the edit lies, as profileKey has it for profiles.
func (e *editRecord) key() []byte {
	if e.Target == "" {
		return profileKey(profileEntities, EntityID(e.Name))
	}
	return profileKey(profileRelations, e.pair().key())
}

// over takes the fields of another edit over where this one has none.
func (e *editRecord) over(o *editRecord) {
	if o.Created && !e.Created {
		e.Created, e.forward = true, o.forward
	}
	e.Shown = firstOf(e.Shown, o.Shown)
	e.Type = firstOf(e.Type, o.Type)
	e.Description = firstOf(e.Description, o.Description)
	e.Keywords = firstOf(e.Keywords, o.Keywords)
	e.Weight = firstOf(e.Weight, o.Weight)
}

func firstOf[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// setPrint sums up what the fold says, for profiles made of it.
func (e *editRecord) setPrint() {
	text := func(s *string) string {
		if s == nil {
			return ""
		}
		return "=" + *s
	}
	weight := ""
	if e.Weight != nil {
		weight = strconv.FormatUint(math.Float64bits(*e.Weight), 16)
	}
	e.print = print("by hand", text(e.Shown), text(e.Type), text(e.Description), text(e.Keywords), weight,
		strconv.FormatBool(e.Created), strconv.FormatBool(e.forward))
}

// handPrint is the print of an edit, 0 when there is none.
func handPrint(e *editRecord) uint64 {
	if e == nil {
		return 0
	}
	return e.print
}

// byHand is what people said of one knowledge base, taken apart. It is made anew
// when a record changes and never changed.
type byHand struct {
	alias    map[string]*aliasRecord // by identity
	entities map[string]*editRecord  // by identity, as written
	pairs    map[pair]*editRecord    // by the identities as written
	cut      bool                    // some pair is deleted
	bytes    int64                   // of the records

	root map[string]string // identity of an alias -> what it stands for in the end
	// What holds for what is in the graph in the end: by root, deleted ones left out.
	entity   map[string]*editRecord
	relation map[pair]*editRecord
	keys     map[string][]string // key that retrieval knows a name of several under -> roots, sorted
	names    map[string][]string // root -> identities of its aliases, sorted
	spelled  map[string]string   // identity -> as people wrote it; the smallest of several
	renamed  map[string]string   // root -> the name it was given last in its chain
}

var noHand = mustHand()

func mustHand() *byHand {
	h, err := newHand(nil, nil)
	if err != nil {
		panic(err)
	}
	return h
}

// readHand reads all aliases and edits through one snapshot.
func readHand(tx *tenancy.Tx) (*byHand, error) {
	var aliases []*aliasRecord
	var edits []*editRecord
	size := int64(0)
	err := tx.Scan(kindAlias, tenancy.Scan{}, func(rest, value []byte) error {
		a := new(aliasRecord)
		if err := unmarshalRecord("alias", value, a); err != nil {
			return err
		}
		if !bytes.Equal(rest, aliasKey(EntityID(a.Name))) {
			return fmt.Errorf("%w: the record of alias %q lies under %x", ErrDamaged, a.Name, rest)
		}
		aliases = append(aliases, a)
		size += int64(len(value))
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = tx.Scan(kindEdit, tenancy.Scan{}, func(rest, value []byte) error {
		e := new(editRecord)
		if err := unmarshalRecord("edit", value, e); err != nil {
			return err
		}
		if !bytes.Equal(rest, e.key()) {
			return fmt.Errorf("%w: the edit of %q lies under %x", ErrDamaged, e.Name, rest)
		}
		edits = append(edits, e)
		size += int64(len(value))
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(aliases)+len(edits) == 0 {
		return noHand, nil
	}
	h, err := newHand(aliases, edits)
	if err == nil {
		h.bytes = size
	}
	return h, err
}

// newHand takes records apart. A chain of aliases that does not end is ErrDamaged.
func newHand(aliases []*aliasRecord, edits []*editRecord) (*byHand, error) {
	h := &byHand{
		alias: map[string]*aliasRecord{}, entities: map[string]*editRecord{}, pairs: map[pair]*editRecord{},
		root: map[string]string{}, entity: map[string]*editRecord{}, relation: map[pair]*editRecord{},
		keys: map[string][]string{}, names: map[string][]string{}, spelled: map[string]string{}, renamed: map[string]string{},
	}
	spell := func(name string) string {
		id := EntityID(name)
		if s, ok := h.spelled[id]; !ok || name < s {
			h.spelled[id] = name
		}
		return id
	}
	for _, a := range aliases {
		a.id, a.to = spell(a.Name), spell(a.Into)
		h.alias[a.id] = a
	}
	for id := range h.alias {
		root, steps := id, 0
		for h.alias[root] != nil {
			if root = h.alias[root].to; steps > len(h.alias) {
				return nil, fmt.Errorf("%w: the alias %q leads back to itself", ErrDamaged, id)
			}
			steps++
		}
		h.root[id] = root
		h.names[root] = append(h.names[root], id)
		if key := nameKey(id); key != "" && !slices.Contains(h.keys[key], root) { // names of one key are few
			h.keys[key] = append(h.keys[key], root)
		}
	}
	for root := range h.names {
		if key := nameKey(root); key != "" && !slices.Contains(h.keys[key], root) {
			h.keys[key] = append(h.keys[key], root)
		}
	}
	for _, l := range []map[string][]string{h.names, h.keys} {
		for _, x := range l {
			slices.Sort(x)
		}
	}
	for root, ids := range h.names {
		for _, id := range ids {
			if a := h.alias[id]; a.Rename && a.to == root {
				if s, ok := h.renamed[root]; !ok || a.Into < s {
					h.renamed[root] = a.Into
				}
			}
		}
	}
	for _, e := range edits {
		e.id = spell(e.Name)
		if e.Target == "" {
			h.entities[e.id] = e
		} else {
			e.to = spell(e.Target)
			h.pairs[pairOf(e.id, e.to)] = e
			h.cut = h.cut || e.Deleted
		}
	}
	h.foldEdits()
	return h, nil
}

// foldEdits makes one edit for each root: of several names that stand for one
// thing its own says most, then the others in the order of their identities.
func (h *byHand) foldEdits() {
	for _, id := range sortedKeys(h.entities, func(id string) (bool, string) { return h.root[id] != "", id }) {
		root := h.rootOf(id)
		if h.hidden(id) {
			continue
		}
		f := h.entity[root]
		if f == nil {
			f = &editRecord{Name: root}
			h.entity[root] = f
		}
		f.over(h.entities[id])
	}
	for _, p := range sortedKeys(h.pairs, func(p pair) (bool, string) { return h.root[p[0]] != "" || h.root[p[1]] != "", p.key() }) {
		e := h.pairs[p]
		a, b := h.rootOf(p[0]), h.rootOf(p[1])
		if a == b || h.hidden(p[0]) || h.hidden(p[1]) || h.hiddenPair(p[0], p[1]) {
			continue
		}
		root := pairOf(a, b)
		f := h.relation[root]
		if f == nil {
			f = &editRecord{Name: root[0], Target: root[1]}
			h.relation[root] = f
		}
		e.forward = h.rootOf(e.id) == root[0]
		f.over(e)
	}
	for _, f := range h.entity {
		f.setPrint()
	}
	for _, f := range h.relation {
		f.setPrint()
	}
}

// sortedKeys orders keys: those that are no alias's first, then by name.
func sortedKeys[K comparable](m map[K]*editRecord, by func(K) (bool, string)) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.SortFunc(out, func(a, b K) int {
		x, s := by(a)
		y, t := by(b)
		if x != y {
			if y {
				return -1
			}
			return 1
		}
		return bytes.Compare([]byte(s), []byte(t))
	})
	return out
}

// rootOf is the identity that a name's identity stands for in the end.
func (h *byHand) rootOf(identity string) string {
	if r, ok := h.root[identity]; ok {
		return r
	}
	return identity
}

// chain is an identity with those it stands for, one after the other.
func (h *byHand) chain(identity string) []string {
	out := []string{identity}
	for a := h.alias[identity]; a != nil; a = h.alias[identity] {
		identity = a.to
		out = append(out, identity)
	}
	return out
}

// sameChain reports whether a name stands for the same by both, step by step.
func sameChain(a, b *byHand, identity string) bool {
	for {
		x, y := a.alias[identity], b.alias[identity]
		if x == nil || y == nil {
			return x == y
		}
		if x.to != y.to {
			return false
		}
		identity = x.to
	}
}

// hidden says that what is said under a name is left out: the entity was deleted
// under this name or one that it stands for.
func (h *byHand) hidden(identity string) bool {
	if len(h.entities) == 0 {
		return false
	}
	if e := h.entities[identity]; e != nil && e.Deleted {
		return true
	}
	a := h.alias[identity]
	return a != nil && h.hidden(a.to)
}

// hiddenPair is hidden for what is said of two names.
func (h *byHand) hiddenPair(a, b string) bool {
	if !h.cut {
		return false
	}
	for _, x := range h.chain(a) {
		for _, y := range h.chain(b) {
			if e := h.pairs[pairOf(x, y)]; e != nil && e.Deleted {
				return true
			}
		}
	}
	return false
}

// storedRoot is rootOf by the records as a transaction sees them.
func storedRoot(tx *tenancy.Tx, identity string) (string, error) {
	for range maxAliases + 1 {
		b, err := tx.Get(kindAlias, aliasKey(identity))
		if errors.Is(err, tenancy.ErrNotFound) {
			return identity, nil
		}
		if err != nil {
			return "", fmt.Errorf("read alias: %w", err)
		}
		var a aliasRecord
		if err := unmarshalRecord("alias", b, &a); err != nil {
			return "", err
		}
		identity = EntityID(a.Into)
	}
	return "", fmt.Errorf("%w: the aliases of %q do not end", ErrDamaged, identity)
}

// storedEdit reads the edit that lies where e would, nil when there is none.
func storedEdit(tx *tenancy.Tx, e *editRecord) (*editRecord, error) {
	b, err := tx.Get(kindEdit, e.key())
	if errors.Is(err, tenancy.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read edit: %w", err)
	}
	var old editRecord
	return &old, unmarshalRecord("edit", b, &old)
}

// putAlias writes an alias; the caller knows that its name stands for itself.
func (c *change) putAlias(a *aliasRecord) error {
	if c.st.Aliases++; c.st.Aliases > maxAliases {
		return badField("entities_to_change", fmt.Sprintf("would be more than %d other names in this knowledge base", maxAliases))
	}
	return c.setHand("entities_to_change", kindAlias, aliasKey(EntityID(a.Name)), marshalRecord(a))
}

// setHand writes a record, or takes one away that is to be nil, and keeps account.
func (c *change) setHand(field string, kind byte, key, value []byte) error {
	old, err := c.tx.Get(kind, key)
	if err != nil && !errors.Is(err, tenancy.ErrNotFound) {
		return fmt.Errorf("read record of kind %c: %w", kind, err)
	}
	more := int64(len(value) - len(old))
	if more > 0 {
		if err := c.tx.CheckStorage(-more); err != nil {
			return err
		}
	}
	if c.st.HandBytes += more; more > 0 && c.st.HandBytes > maxHandBytes {
		return badField(field, fmt.Sprintf("is more than the %d bytes of merges and edits that a knowledge base keeps", maxHandBytes))
	}
	if value == nil {
		return c.tx.Delete(kind, key)
	}
	return c.tx.Set(kind, key, value)
}

func (c *change) dropAlias(identity string) error {
	c.st.Aliases--
	return c.setHand("", kindAlias, aliasKey(identity), nil)
}

// putEdit writes an edit in the place of old, which is nil when there is none. One
// that says nothing is no record.
func (c *change) putEdit(e, old *editRecord) error {
	if *e == (editRecord{Name: e.Name, Target: e.Target}) {
		if old != nil {
			c.st.Edits--
		}
		return c.setHand("", kindEdit, e.key(), nil)
	}
	if old == nil {
		if c.st.Edits++; c.st.Edits > maxEdits {
			return badField("entity_name", fmt.Sprintf("would be more than %d edits in this knowledge base", maxEdits))
		}
	}
	return c.setHand("entity_name", kindEdit, e.key(), marshalRecord(e))
}

// touchHand notes that aliases or edits changed.
func (c *change) touchHand() error {
	c.st.Room = nil // people make names, and part merged ones again
	return c.touch(handMark)
}

// dumpHand writes aliases and edits in the order of their names.
func dumpHand(w io.Writer, tx *tenancy.Tx) error {
	h, err := readHand(tx)
	if err != nil {
		return err
	}
	for _, id := range sortedAliases(h) {
		a := h.alias[id]
		fmt.Fprintf(w, "alias %q into=%q rename=%t\n", a.Name, a.Into, a.Rename)
	}
	var lines []string
	for _, e := range h.entities {
		lines = append(lines, fmt.Sprintf("edit entity %s\n", marshalRecord(e)))
	}
	for _, e := range h.pairs {
		lines = append(lines, fmt.Sprintf("edit relation %s\n", marshalRecord(e)))
	}
	slices.Sort(lines)
	for _, l := range lines {
		fmt.Fprint(w, l)
	}
	return nil
}

// byHand checks that aliases and edits can be read, lead somewhere, and are as
// many as the state says.
func (k *checker) byHand() error {
	h, err := readHand(k.tx)
	if errors.Is(err, ErrDamaged) {
		k.fault("%v", err)
		return nil
	}
	if err != nil {
		return err
	}
	k.counts.Aliases, k.counts.Edits = len(h.alias), len(h.entities)+len(h.pairs)
	if k.counts.Aliases != k.state.Aliases || k.counts.Edits != k.state.Edits || h.bytes != k.state.HandBytes {
		k.fault("state counts %d aliases and %d edits of %d bytes, there are %d and %d of %d",
			k.state.Aliases, k.state.Edits, k.state.HandBytes, k.counts.Aliases, k.counts.Edits, h.bytes)
	}
	return nil
}

func sortedAliases(h *byHand) []string { return slices.Sorted(maps.Keys(h.alias)) }
