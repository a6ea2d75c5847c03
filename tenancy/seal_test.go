package tenancy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
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
		reflect.TypeFor[*Space](), reflect.TypeFor[*Tx](), reflect.TypeFor[Principal](), reflect.TypeFor[JobRef](), reflect.TypeFor[SpaceID](),
	} {
		if root.Kind() == reflect.Struct {
			require.Empty(t, leads(root, forbidden, map[reflect.Type]bool{}), "%s", root)
			continue
		}
		// A pointer to the sealed type itself is where the walk starts.
		require.Empty(t, leads(root, forbidden, map[reflect.Type]bool{root.Elem(): true}), "%s", root)
		for i := range root.Elem().NumField() {
			require.False(t, root.Elem().Field(i).IsExported(), "%s.%s", root, root.Elem().Field(i).Name)
		}
	}
	require.Zero(t, exportedFields(reflect.TypeFor[Principal]()))
	require.Zero(t, exportedFields(reflect.TypeFor[SpaceID]()))

	// The walk itself is tried on what it must find.
	type leak struct {
		Inner []map[string]func() *keyspace.DB
	}
	require.NotEmpty(t, leads(reflect.TypeFor[leak](), forbidden, map[reflect.Type]bool{}))
	require.NotEmpty(t, leads(reflect.TypeFor[func(func(*Space))](), forbidden, map[reflect.Type]bool{}))
}

// leads returns a path from typ to a forbidden type over whatever is exported, or "".
func leads(typ reflect.Type, forbidden, seen map[reflect.Type]bool) string {
	if forbidden[typ] && !seen[typ] {
		return typ.String()
	}
	key := typ
	if seen[key] && typ.Kind() != reflect.Pointer {
		return ""
	}
	seen[key] = true
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
	for i := range typ.NumMethod() { // of exported methods only
		if m := typ.Method(i).Type; typ.Kind() != reflect.Interface {
			next = append(next, m)
		}
	}
	for _, n := range next {
		if n == typ || n.Kind() == reflect.Pointer && seen[n] {
			continue
		}
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
		"tenancy/enter.go", // EachKB is made of it
	},
	"EachKB": {
		"cmd/alcove/check.go", // the offline walk over a stopped store
	},
	"Resume": {
		"engine/work.go", // accepted work goes on
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
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files++
		ast.Inspect(f, func(n ast.Node) bool {
			// Any mention of the method counts, not only a call: a method value can be
			// called elsewhere.
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if allowed, door := unaskedDoors[sel.Sel.Name]; door && !slices.Contains(allowed, name) {
					t.Errorf("%s: %s is not listed for this file", set.Position(sel.Pos()), sel.Sel.Name)
				}
			}
			return true
		})
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, files, 10, "the module's source was found")
}
