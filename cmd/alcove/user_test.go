package main

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"alcove/tenancy"
)

// The first account is made beside no server; with one running the command says what to
// do instead; a password is never an argument.
func TestUser(t *testing.T) {
	bin, err := binary()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "data")
	user := func(in string, args ...string) (out, notes string, err error) {
		cmd := exec.Command(bin, append(append([]string{"user"}, args...), "--data-dir", dir)...)
		cmd.Dir, cmd.Stdin = t.TempDir(), strings.NewReader(in)
		var o, e strings.Builder
		cmd.Stdout, cmd.Stderr = &o, &e
		err = cmd.Run()
		return o.String(), e.String(), err
	}
	_, notes, err := user("", "list")
	require.Error(t, err)
	require.Contains(t, notes, "there is no store")
	_, notes, err = user("correct horse battery\n", "add", "ada", "--system-admin", "--password-stdin")
	require.NoError(t, err, notes)
	once, notes, err := user("", "add", "ben")
	require.NoError(t, err, notes)
	require.Regexp(t, `^[a-z2-7]{5}(-[a-z2-7]{5}){3}\n$`, once)
	require.Contains(t, notes, "may do nothing yet")
	for _, bad := range [][]string{{"add", "ada"}, {"add", "Ada"}, {"add", "zoe", "--tenant", "none"}, {"add", "zoe", "--password-stdin"}, {"remove", "zoe"}, {"passwd", "zoe"}, {"add"}} {
		_, notes, err := user("short\n", bad...)
		require.Error(t, err, bad)
		require.NotEmpty(t, notes)
	}
	list, _, err := user("", "list")
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(list, "\n"), "what failed left nothing: %s", list)

	s, err := tenancy.Open(tenancy.Options{Dir: dir})
	require.NoError(t, err)
	_, notes, err = user("", "add", "eve")
	require.Error(t, err)
	require.Contains(t, notes, "is running")
	require.Contains(t, notes, "/api/v1/users")
	ses, err := s.SignIn(t.Context(), tenancy.SignIn{User: "ada", Password: "correct horse battery"})
	require.NoError(t, err)
	require.True(t, ses.System)
	require.NoError(t, s.Close())

	once, _, err = user("", "passwd", "ada")
	require.NoError(t, err)
	_, _, err = user("", "remove", "ben")
	require.NoError(t, err)
	s, err = tenancy.Open(tenancy.Options{Dir: dir})
	require.NoError(t, err)
	defer s.Close()
	_, err = s.Authenticate(t.Context(), tenancy.Credential{Bearer: ses.Token})
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
	ses, err = s.SignIn(t.Context(), tenancy.SignIn{User: "ada", Password: strings.TrimSpace(once)})
	require.NoError(t, err)
	require.True(t, ses.MustChange)
}

// Key files are read where the method asks for them, and what does not fit is named;
// alcove token signs with the key that the server verifies with.
func TestSettings_TokenKeys(t *testing.T) {
	t.Chdir(t.TempDir())
	_, key, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile("junk.pem", []byte("hunter2"), 0o600))
	const secret = "Vh3qkP0w9sZrT1yBn5uLxEo7mDc2aJfG"
	for says, args := range map[string][]string{
		`JWT_ALGORITHM (from flag): must be`:                           {"--jwt-algorithm", "none", "--token-key-file", "key.pem"},
		`TOKEN_KEY_FILE (from default): is missing`:                    {"--jwt-algorithm", "EdDSA"},
		`TOKEN_KEY_FILE (from flag): open none.pem`:                    {"--jwt-algorithm", "EdDSA", "--token-key-file", "none.pem"},
		`TOKEN_KEY_FILE (from flag): is not a key`:                     {"--jwt-algorithm", "EdDSA", "--token-key-file", "junk.pem"},
		`TOKEN_KEY_FILE (from flag): holds a key of another kind`:      {"--jwt-algorithm", "RS256", "--token-key-file", "key.pem"},
		`TOKEN_VERIFY_KEY_FILE (from flag): is not a key`:              {"--jwt-algorithm", "EdDSA", "--token-key-file", "key.pem", "--token-verify-key-file", "junk.pem"},
		`TOKEN_KEY_FILE (from flag): is for JWT_ALGORITHM RS256`:       {"--token-key-file", "key.pem"},
		`TOKEN_SECRET (from flag): is for JWT_ALGORITHM HS256, and th`: {"--jwt-algorithm", "EdDSA", "--token-key-file", "key.pem", "--token-secret", secret},
	} {
		v := load(t, args...)
		v.store(nil)
		require.ErrorContains(t, v.err(), says, "%v", args)
		require.NotContains(t, v.err().Error(), "hunter2")
	}
	v := load(t, "--data-dir", "data", "--jwt-algorithm", "EdDSA", "--token-key-file", "key.pem")
	s, err := tenancy.Open(v.store(nil))
	require.NoError(t, v.err())
	require.NoError(t, err)
	defer s.Close()
	var out strings.Builder
	c := root()
	c.SetArgs([]string{"token", "--data-dir", "data", "--jwt-algorithm", "EdDSA", "--token-key-file", "key.pem"})
	c.SetOut(&out)
	c.SetErr(io.Discard)
	require.NoError(t, c.Execute())
	p, err := s.Authenticate(t.Context(), tenancy.Credential{Bearer: strings.TrimSpace(out.String())})
	require.NoError(t, err)
	require.True(t, p.System())
	require.NoFileExists(t, "data/token.secret", "nothing is made that is not used")
}
