package tenancy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/tenancy/keyspace"
)

// What is handed outside leads nowhere: from the types a request gets to hold, no
// exported field, method result or callback argument reaches the database, a prefix,
// the Store, or a Space other than the one that was entered. If somebody adds
// Space.DB() or Tx.In(namespace), this fails.
func TestSeal_NothingLeadsOut(t *testing.T) {
	forbidden := map[reflect.Type]bool{
		reflect.TypeFor[keyspace.DB](): true, reflect.TypeFor[keyspace.Tx](): true, reflect.TypeFor[keyspace.Namespace](): true,
		reflect.TypeFor[Store](): true, reflect.TypeFor[Space](): true, reflect.TypeFor[catalogue](): true,
		reflect.TypeFor[tenantEntry](): true, reflect.TypeFor[kbEntry](): true, reflect.TypeFor[identity](): true,
	}
	for _, root := range []reflect.Type{
		reflect.TypeFor[*Space](), reflect.TypeFor[*Tx](), reflect.TypeFor[*Principal](), reflect.TypeFor[*JobRef](), reflect.TypeFor[*SpaceID](),
	} {
		require.Empty(t, wayOut(root, forbidden), "%s", root)
	}
	require.Zero(t, exportedFields(reflect.TypeFor[Space]()))
	require.Zero(t, exportedFields(reflect.TypeFor[Tx]()))
	require.Zero(t, exportedFields(reflect.TypeFor[Principal]()))
	require.Zero(t, exportedFields(reflect.TypeFor[SpaceID]()))

	// The walk itself is tried on what it must find.
	require.Contains(t, wayOut(reflect.TypeFor[*leaky](), forbidden), "Other")
	type leak struct {
		Inner []map[string]func() *keyspace.DB
	}
	require.NotEmpty(t, wayOut(reflect.TypeFor[*leak](), forbidden))
	require.NotEmpty(t, leads(reflect.TypeFor[func(func(*Space))](), forbidden, map[reflect.Type]bool{}))
}

// All that a request can do with what it gets to hold. The walk above follows types, and
// is blind where a type says nothing: an any, a Tx of another knowledge base, a number in
// place of a namespace. So a new method is a decision, and is written down here too.
const handedOut = `
Space.Admit func(tenancy.RateClass, int64) (tenancy.Rate, error)
Space.Asker func() string
Space.BeginQuery func() (func(), error)
Space.Commit func(context.Context, func(*tenancy.Tx) error) error
Space.Config func(context.Context) (tenancy.Config, tenancy.Config, error)
Space.ID func() tenancy.SpaceID
Space.KBID func() string
Space.Permission func() tenancy.Permission
Space.Quota func() tenancy.Quota
Space.SpendTokens func(int64)
Space.TenantID func() string
Space.TokensLeft func() error
Space.Usage func(context.Context) (keyspace.Usage, error)
Space.Verify func(context.Context) error
Space.View func(context.Context, func(*tenancy.Tx) error) error
Tx.AddJob func([]uint8) (tenancy.JobRef, error)
Tx.AdoptCounts func(func() int64) error
Tx.Audit func(string, string, string, map[string]string) error
Tx.CheckStorage func(int64) error
Tx.NameLimits func() (int64, int64)
Tx.CountDocuments func(int64) error
Tx.Counted func() (tenancy.Counted, bool, error)
Tx.Delete func(uint8, []uint8) error
Tx.EndJob func(tenancy.JobRef) error
Tx.Get func(uint8, []uint8) ([]uint8, error)
Tx.Job func(tenancy.JobRef) ([]uint8, error)
Tx.Reserve func(int64)
Tx.Scan func(uint8, keyspace.Scan, func([]uint8, []uint8) error) error
Tx.Set func(uint8, []uint8, []uint8) error
Tx.SetJob func(tenancy.JobRef, []uint8) error
Tx.Usage func() (keyspace.Usage, error)
`

func TestSeal_WhatIsHandedOut(t *testing.T) {
	listed := strings.Split(strings.TrimSpace(handedOut), "\n")
	for _, v := range []any{&Space{}, &Tx{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumMethod() {
			m := reflect.ValueOf(v).Method(i).Type() // without the receiver
			line := typ.Elem().Name() + "." + typ.Method(i).Name + " " + m.String()
			if !slices.Contains(listed, line) {
				t.Errorf("not listed as handed out: %s", line)
			}
		}
	}
}

// What stands beside the sealed types leads nowhere either: no exported function of the
// room, and no method of its exported types, the Store's among them, names the keyspace
// or hands out something of no type.
func TestSeal_NoFunctionNamesTheKeyspace(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	asked := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		n, found := leavesRoom(t, name, source)
		asked += n
		for _, f := range found {
			t.Errorf("%s leads out of the room", f)
		}
	}
	require.Greater(t, asked, 50, "the room's source was found")

	// The walk itself is tried on what it must find, and on what it must let be.
	for _, f := range []string{
		"func DBOf(s *Space) *keyspace.DB", "func (s *Store) DB() *keyspace.DB", "func (s *Store) In(ns keyspace.Namespace) int",
		"func (s *Store) Each(f func(*keyspace.Tx) error) error", "func (s *Store) DB() any", "func (s *Store) DB() interface{ Close() error }",
	} {
		_, found := leavesRoom(t, "x.go", []byte("package p\n"+f+" { panic(0) }"))
		require.Len(t, found, 1, f)
	}
	for _, f := range []string{"func dbOf(s *Space) *keyspace.DB", "func (c *catalogue) Load(tx *keyspace.Tx)", "func (s *Store) Stats() Stats"} {
		_, found := leavesRoom(t, "x.go", []byte("package p\n"+f+" { panic(0) }"))
		require.Empty(t, found, f)
	}
}

// leavesRoom looks at the signatures of a file's exported functions and methods of
// exported types: how many there are, and which say what nobody outside may hold.
func leavesRoom(t testing.TB, name string, source []byte) (asked int, found []string) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
	require.NoError(t, err)
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || !fn.Name.IsExported() {
			continue
		}
		if fn.Recv != nil {
			typ := fn.Recv.List[0].Type
			if star, ok := typ.(*ast.StarExpr); ok {
				typ = star.X
			}
			if id, ok := typ.(*ast.Ident); ok && !id.IsExported() {
				continue
			}
		}
		asked++
		leaks := false
		ast.Inspect(fn.Type, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if ok {
				pkg, isName := sel.X.(*ast.Ident)
				leaks = leaks || isName && pkg.Name == "keyspace"
			}
			return true
		})
		if fn.Type.Results != nil {
			ast.Inspect(fn.Type.Results, func(n ast.Node) bool {
				id, isName := n.(*ast.Ident)
				_, isInterface := n.(*ast.InterfaceType)
				leaks = leaks || isInterface || isName && id.Name == "any"
				return true
			})
		}
		if leaks {
			found = append(found, set.Position(fn.Pos()).String()+" "+fn.Name.Name)
		}
	}
	return asked, found
}

// leaky has a method as no sealed type may have one.
type leaky struct{}

func (*leaky) Other() (*Space, error) { return nil, nil }

// wayOut returns a path from a pointer to a type, over its exported methods and fields,
// to a forbidden type, or "". The type itself is where the walk starts and may be forbidden.
func wayOut(root reflect.Type, forbidden map[reflect.Type]bool) string {
	for i := range root.NumMethod() {
		if path := leads(root.Method(i).Type, forbidden, map[reflect.Type]bool{}); path != "" {
			return root.String() + "." + root.Method(i).Name + " -> " + path
		}
	}
	for i := range root.Elem().NumField() {
		if f := root.Elem().Field(i); f.IsExported() || f.Anonymous {
			if path := leads(f.Type, forbidden, map[reflect.Type]bool{}); path != "" {
				return root.String() + "." + f.Name + " -> " + path
			}
		}
	}
	return ""
}

// leads returns a path from typ to a forbidden type over whatever is exported, or "".
func leads(typ reflect.Type, forbidden, seen map[reflect.Type]bool) string {
	if forbidden[typ] {
		return typ.String()
	}
	if seen[typ] {
		return ""
	}
	seen[typ] = true
	var next []reflect.Type
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Chan:
		next = append(next, typ.Elem())
	case reflect.Map:
		next = append(next, typ.Key(), typ.Elem())
	case reflect.Struct:
		for i := range typ.NumField() {
			if f := typ.Field(i); f.IsExported() || f.Anonymous {
				next = append(next, f.Type)
			}
		}
	case reflect.Func:
		for i := range typ.NumOut() {
			next = append(next, typ.Out(i))
		}
		for i := range typ.NumIn() { // a callback is handed its arguments
			if in := typ.In(i); in.Kind() == reflect.Func {
				for j := range in.NumIn() {
					next = append(next, in.In(j))
				}
			}
		}
	}
	if typ.Kind() != reflect.Interface {
		for i := range typ.NumMethod() { // exported ones only
			next = append(next, typ.Method(i).Type)
		}
	}
	for _, n := range next {
		if path := leads(n, forbidden, seen); path != "" {
			return typ.String() + " -> " + path
		}
	}
	return ""
}

func exportedFields(typ reflect.Type) (n int) {
	for i := range typ.NumField() {
		if typ.Field(i).IsExported() {
			n++
		}
	}
	return n
}

// The doors that ask for no credential, and the files that may use them. A new call
// site is a decision: it is written down here, with the file's reason beside it.
var unaskedDoors = map[string][]string{
	"Maintain": {
		"tenancy/enter.go",        // EachKB is made of it
		"engine/vectors.go",       // a derived vector graph is stored, whoever opened the base
		"engine/snapshot_keep.go", // and so is the snapshot of its copy in memory
	},
	"EachKB": {
		"cmd/alcove/check.go", // the offline walk over a stopped store
		"httpapi/admin.go",    // POST /admin/verify and /admin/rebuild, for system admins
	},
	"Resume": {
		"engine/work.go", // accepted work goes on
		"bench/drop.go",  // knocks at it while its knowledge base is deleted
	},
}

// Maintain, EachKB and Resume are called where the list above says and nowhere else.
func TestSeal_UnaskedDoorsAreListed(t *testing.T) {
	root := filepath.Join("..")
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for _, mention := range unlisted(t, name, source) {
			t.Errorf("%s: not listed for this file", mention)
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, files, 10, "the module's source was found")
}

// A call, a method value and a method expression are all found.
func TestSeal_UnlistedIsFound(t *testing.T) {
	for _, use := range []string{"s.Maintain(nil)", "f := s.Resume; f()", "(*Store).EachKB(s)"} {
		require.Len(t, unlisted(t, "engine/query.go", []byte("package p\nfunc f() { "+use+" }")), 1, use)
	}
	require.Empty(t, unlisted(t, "engine/work.go", []byte("package p\nfunc f() { s.Resume(nil) }")))
}

// unlisted returns where a file mentions a door that is not listed for it. Any mention
// counts, not only a call: a method value can be called elsewhere.
func unlisted(t testing.TB, name string, source []byte) (mentions []string) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, source, parser.SkipObjectResolution)
	require.NoError(t, err)
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if allowed, door := unaskedDoors[sel.Sel.Name]; door && !slices.Contains(allowed, name) {
				mentions = append(mentions, set.Position(sel.Pos()).String()+" "+sel.Sel.Name)
			}
		}
		return true
	})
	return mentions
}
