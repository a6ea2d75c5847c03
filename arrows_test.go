package alcove_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// arrows says which rooms a room may import. A sub-room not named here has the
// arrows of the longest prefix that is.
var arrows = map[string][]string{
	"cmd":               {"", "httpapi", "bench", "tenancy", "engine", "sealed"},
	"httpapi":           {"engine", "tenancy"},
	"bench":             {"httpapi", "engine", "tenancy", "index", "graph"},
	"engine":            {"tenancy", "index", "graph", "sealed", "flat"},
	"engine/parse":      {"engine"},
	"engine/builtin":    {"engine", "engine/builtin"},
	"engine/ollama":     {"engine"},
	"engine/openai":     {"engine"},
	"engine/rerank":     {"engine"},
	"engine/lightrag":   {"engine"},
	"engine/enginetest": {"engine", "tenancy", "engine/enginetest/gguf"},
	"tenancy":           {"tenancy/keyspace", "tenancy/audit", "sealed"},
	"tenancy/keyspace":  {},
	"sealed":            {},
	"tenancy/audit":     {},
	"index":             {"flat"},
	"graph":             {"flat"},
	"flat":              {},
}

// oneRoom names the libraries that shape a part: each is imported in one room.
var oneRoom = map[string]string{
	"github.com/dgraph-io/badger":         "tenancy/keyspace",
	"github.com/golang-jwt/jwt":           "tenancy",
	"github.com/cayleygraph":              "graph",
	"github.com/coder/hnsw":               "index",
	"github.com/julienschmidt/httprouter": "httpapi",
	"github.com/prometheus":               "httpapi",
	"golang.org/x/mod":                    "tenancy/audit",
	"github.com/tiktoken-go/tokenizer":    "engine",
	"github.com/ollama/ollama":            "engine/ollama",
	"github.com/sashabaranov/go-openai":   "engine/openai",
	"github.com/yuin/goldmark":            "engine/parse",
	"github.com/microcosm-cc/bluemonday":  "engine/parse",
	"github.com/klippa-app/go-pdfium":     "engine/parse",
	"github.com/tetratelabs/wazero":       "engine/parse",
	"github.com/xuri/excelize":            "engine/parse",
	"github.com/JohannesKaufmann":         "engine/parse",
	"codeberg.org/readeck/go-readability": "engine/parse",
	"github.com/gabriel-vasile/mimetype":  "engine/parse",
	"github.com/wlynxg/chardet":           "engine/parse",
	"github.com/spf13/cobra":              "cmd",
	"github.com/knadh/koanf":              "cmd",
}

func roomOf(dir string) string {
	for r := dir; r != "."; r = path.Dir(r) {
		if _, ok := arrows[r]; ok {
			return r
		}
	}
	return ""
}

// Rooms import along the arrows of ARCHITECTURE.md and no other way; a test may
// also use enginetest and the sub-rooms of its own room.
func TestArrows(t *testing.T) {
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		file = filepath.ToSlash(file)
		if d.IsDir() {
			if n := d.Name(); file == "tools" || file == "bench/peers" || n == "testdata" || n != "." && strings.HasPrefix(n, ".") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || path.Dir(file) == "." {
			return nil
		}
		isTest := strings.HasSuffix(file, "_test.go")
		room := roomOf(path.Dir(file))
		require.NotEmpty(t, room, "%s stands in no room", file)
		seen[room] = true
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		require.NoError(t, err)
		for _, imp := range f.Imports {
			p, err := strconv.Unquote(imp.Path.Value)
			require.NoError(t, err)
			for lib, home := range oneRoom {
				if strings.HasPrefix(p, lib) && room != home && !(isTest && strings.HasPrefix(home, room)) {
					t.Errorf("%s imports %s, which lives in %s", file, p, home)
				}
			}
			if p != "alcove" && !strings.HasPrefix(p, "alcove/") {
				continue
			}
			target := strings.TrimPrefix(strings.TrimPrefix(p, "alcove"), "/")
			if !allowed(room, target, isTest) {
				t.Errorf("%s imports %s: no arrow leads from %s there", file, p, room)
			}
		}
		return nil
	})
	require.NoError(t, err)
	for r := range arrows {
		require.True(t, seen[r], "room %s of the map is empty", r)
	}
}

func allowed(room, target string, isTest bool) bool {
	if target == room || strings.HasPrefix(target, room+"/") && (room == "cmd" || isTest) {
		return true
	}
	for _, a := range arrows[room] {
		if target == a || room == "cmd" && a == "engine" && strings.HasPrefix(target, "engine/") {
			return true
		}
		if a == "engine/builtin" && strings.HasPrefix(target, a+"/") {
			return true
		}
	}
	return isTest && (target == "engine/enginetest" || strings.HasPrefix(target, "engine/") && strings.HasPrefix(room, "engine") ||
		room == "httpapi" || room == "bench")
}
