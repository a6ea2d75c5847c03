package httpapi

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/engine"
	"alcove/tenancy"
)

// Every sentinel that engine and tenancy export is in the table, or is known
// never to come out of a request.
func TestErrors_TheTableIsWhole(t *testing.T) {
	inside := map[string]string{
		"tenancy.ErrPaused":      "jobs only",
		"tenancy.ErrGone":        "is an ErrKBGone",
		"tenancy.ErrBadID":       "is an ErrBadInput",
		"tenancy.ErrWeakSecret":  "at start only",
		"tenancy.ErrLocked":      "at start only",
		"tenancy.ErrNewerFormat": "at start only",
		"tenancy.ErrReadOnly":    "a fault of ours",
		"tenancy.ErrStop":        "never leaves a scan",
		"tenancy.ErrNotBackup":   "of commands that work on files only",
	}
	table, err := os.ReadFile("errors.go")
	require.NoError(t, err)
	for _, room := range []string{"engine", "tenancy"} {
		file, err := parser.ParseFile(token.NewFileSet(), "../"+room+"/errors.go", nil, 0)
		require.NoError(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for _, name := range spec.Names {
					if !ast.IsExported(name.Name) {
						continue
					}
					full := room + "." + name.Name
					if inside[full] == "" {
						require.Contains(t, string(table), "{"+full+",", full)
					}
				}
			}
			return true
		})
	}
}

// Each line answers its own error, however wrapped: no earlier line hides it.
func TestErrors_EachLineIsReached(t *testing.T) {
	codes := make(map[string]bool)
	for _, line := range answers {
		a, body := answerTo(fmt.Errorf("held: %w", line.is))
		require.Equal(t, line, a)
		require.NotEmpty(t, body.Message)
		require.NotEmpty(t, body.Code)
		require.True(t, a.status >= 400 && a.status < 600)
		require.Equal(t, strings.ToUpper(a.code), a.code)
		require.Equal(t, a.status == 503 || a.status == 429, a.retry > 0, "a 503 and a 429 say when to come back: %v", a.is)
		codes[a.code] = true
	}
	require.True(t, codes["FORBIDDEN"] && codes["UNAUTHORIZED"] && codes["INVALID_KB"])
}

func TestErrors_Details(t *testing.T) {
	for _, c := range []struct {
		err     error
		status  int
		message string
		details map[string]any
	}{
		{&tenancy.DeniedError{Permission: "document:create"}, 403, "it needs document:create", map[string]any{"required_permission": tenancy.Permission("document:create")}},
		{&engine.FieldError{Field: "top_k", Message: "is 0"}, 400, "top_k: is 0", map[string]any{"field": "top_k", "reason": "is 0"}},
		{&tenancy.FieldError{Field: "kb_name", Message: "is taken", Err: tenancy.ErrConflict}, 409, "kb_name: is taken", map[string]any{"field": "kb_name", "reason": "is taken"}},
		{&tenancy.FieldError{Field: "kb", Message: "m", Err: tenancy.ErrBadID}, 400, "kb: m", map[string]any{"field": "kb", "reason": "m"}},
		{tooLarge("file", 5), 413, "file: is larger than 5 bytes", map[string]any{"field": "file", "reason": "is larger than 5 bytes"}},
		{&tenancy.QuotaError{Quota: "max_kb_per_tenant", Limit: 50, Used: 50}, 429, "max_kb_per_tenant is 50", map[string]any{"quota": "max_kb_per_tenant", "limit": int64(50), "used": int64(50)}},
		{&engine.FieldError{Field: "file", Message: "only txt, md and json are read", Err: engine.ErrUnsupportedType}, 400, "only txt, md and json are read", map[string]any{"field": "file", "reason": "only txt, md and json are read"}},
		{&engine.PinnedError{Made: "ollama/a", MadeDim: 3, Now: "ollama/b"}, 409, "made with ollama/a (3 dimensions), the server now has ollama/b", nil},
		{fmt.Errorf("wrapped: %w", context.DeadlineExceeded), 504, "too long", nil},
		// What the table does not know stays in the log.
		{errors.New("disk sda1 said EIO"), 500, "the log has it", nil},
	} {
		a, body := answerTo(c.err)
		require.Equal(t, c.status, a.status, "%v", c.err)
		require.Contains(t, body.Message, c.message)
		require.Equal(t, c.details, body.Details)
	}
}
