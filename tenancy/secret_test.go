package tenancy

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A TOKEN_SECRET that somebody could guess keeps the store shut, and says which it is.
func TestOpen_RefusesWeakSecrets(t *testing.T) {
	dir := t.TempDir()
	for _, weak := range []string{
		"your-secret-key", "your-secret-key-change-in-production", "secret", "changeme", "lightrag-jwt-default-secret",
		"YOUR-SECRET-KEY", " your-secret-key ", "short", strings.Repeat("a", 64), strings.Repeat("ab", 32), strings.Repeat("password", 8),
		"0123456789012345678901234567890", "please-changeme-please-changeme-please", "example-secret-of-more-than-32-bytes-0123",
		strings.Repeat("0", 31) + "1", strings.Repeat("x9", maxTokenSecretBytes),
	} {
		_, err := Open(Options{Dir: dir, TokenSecret: []byte(weak)})
		require.ErrorIs(t, err, ErrWeakSecret, weak)
		require.ErrorContains(t, err, "TOKEN_SECRET")
		_, _, err = SecretFrom(dir, []byte(weak))
		require.ErrorIs(t, err, ErrWeakSecret, weak)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left, "nothing was made")
	for _, good := range []string{"Vh3qkP0w9sZrT1yBn5uLxEo7mDc2aJfG", "correct horse battery staple purple"} {
		got, src, err := SecretFrom(dir, []byte(good))
		require.NoError(t, err)
		require.Equal(t, good, string(got))
		require.True(t, src.Configured)
	}
}

// The first start makes secrets that only their owner can read; later ones keep them.
func TestOpen_MakesSecrets(t *testing.T) {
	dir := t.TempDir()
	before, src, err := SecretFrom(dir, nil)
	require.NoError(t, err)
	require.True(t, src.Created)
	require.False(t, src.Differs)
	s, _ := open(t, Options{Dir: dir})
	require.Equal(t, before, s.keys.Load().sign.([]byte), "a token made before the first start is good")
	for _, name := range []string{tokenSecretFile, keyPepperFile, auditKeyFile, tokenPrintFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		if runtime.GOOS != "windows" {
			require.EqualValues(t, 0o600, info.Mode().Perm(), name)
		}
		b, err := os.ReadFile(filepath.Join(dir, tokenPrintFile))
		require.NoError(t, err)
		require.NotContains(t, string(b), string(before))
	}
	found(t, s, "acme/main")
	text, err := s.MintToken(TokenRequest{Subject: "a", System: true})
	require.NoError(t, err)
	key := newKey(t, s, admin(t, s), "acme", KeyInput{})
	require.NoError(t, s.Close())

	again, err := Open(Options{Dir: dir, Now: s.now})
	require.NoError(t, err)
	_, err = again.Authenticate(ctxOf(t), Credential{Bearer: text})
	require.NoError(t, err)
	signIn(t, again, key)

	// Rotation ends every token, keeps the keys, and is seen by the next reader.
	require.NoError(t, again.RotateSecret(ctxOf(t)))
	_, err = again.Authenticate(ctxOf(t), Credential{Bearer: text})
	require.Equal(t, ErrUnauthenticated, err)
	signIn(t, again, key)
	rotated, src, err := SecretFrom(dir, nil)
	require.NoError(t, err)
	require.NotEqual(t, before, rotated)
	require.Equal(t, again.keys.Load().sign, rotated)
	require.False(t, src.Differs)
	require.NoError(t, again.Close())

	// A server with a configured secret, and a token command without: it is told.
	configured, err := Open(Options{Dir: dir, TokenSecret: []byte("Vh3qkP0w9sZrT1yBn5uLxEo7mDc2aJfG")})
	require.NoError(t, err)
	_, src, err = SecretFrom(dir, nil)
	require.NoError(t, err)
	require.True(t, src.Differs)
	require.ErrorContains(t, configured.RotateSecret(ctxOf(t)), "TOKEN_SECRET")
	require.NoError(t, configured.Close())
}

// Whoever starts first makes the secret; all who start at once get the same.
func TestSecretFrom_Race(t *testing.T) {
	dir := t.TempDir()
	got := make([]string, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			b, _, err := SecretFrom(dir, nil)
			if err == nil {
				got[i] = string(b)
			}
		})
	}
	wg.Wait()
	for _, g := range got {
		require.Len(t, g, secretBytes)
		require.Equal(t, got[0], g)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "no half-made files stay")
}

// A damaged secret file stops the start and does not print what it holds.
func TestSecretFrom_Damaged(t *testing.T) {
	for _, bad := range []string{"", "hunter2", strings.Repeat("z", 64), strings.Repeat("ab", 31)} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, tokenSecretFile), []byte(bad), 0o600))
		_, _, err := SecretFrom(dir, nil)
		require.ErrorContains(t, err, tokenSecretFile)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
