package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// writePair writes a certificate with the given number that ends at until.
func writePair(t *testing.T, dir string, number int64, until time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	sheet := &x509.Certificate{SerialNumber: big.NewInt(number), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: until.Add(-48 * time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, sheet, sheet, &k.PublicKey, k)
	require.NoError(t, err)
	der2, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der2}), 0o600))
	for _, f := range []string{cert, key} { // the clock of the file system may be coarse
		at := time.Unix(number, 0)
		require.NoError(t, os.Chtimes(f, at, at))
	}
	return cert, key
}

// A renewed certificate is used without a restart; a broken one is not, and is told
// of once.
func TestCertificate_Reload(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	cert, key := writePair(t, dir, 1, now.Add(30*24*time.Hour))
	var log bytes.Buffer
	c := &certificate{certFile: cert, keyFile: key, log: slog.New(slog.NewTextHandler(&log, nil)), now: func() time.Time { return now }}
	require.NoError(t, c.load())
	number := func() int64 {
		got, err := c.get(nil)
		require.NoError(t, err)
		return got.Leaf.SerialNumber.Int64()
	}
	require.EqualValues(t, 1, number())
	writePair(t, dir, 2, now.Add(30*24*time.Hour))
	require.EqualValues(t, 1, number()) // looked at a moment ago
	now = now.Add(certificateCheck)
	require.EqualValues(t, 2, number())

	require.NoError(t, os.WriteFile(key, []byte("no key"), 0o600))
	for range 3 {
		now = now.Add(certificateCheck)
		require.EqualValues(t, 2, number())
	}
	require.Equal(t, 1, bytes.Count(log.Bytes(), []byte("not used")), log.String())

	writePair(t, dir, 3, now.Add(-time.Hour))
	now = now.Add(certificateCheck)
	require.EqualValues(t, 2, number())
	require.Contains(t, log.String(), "ended at")
	writePair(t, dir, 4, now.Add(24*time.Hour))
	now = now.Add(certificateCheck)
	require.EqualValues(t, 4, number())
	require.Contains(t, log.String(), "ends soon")
}

func TestTLSSettings(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, 1, time.Now().Add(30*24*time.Hour))
	for _, c := range []struct {
		args []string
		tls  bool
		bad  string
	}{
		{nil, false, ""},
		{[]string{"--tls-cert-file", cert, "--tls-key-file", key, "--tls-redirect-listen", ":80"}, true, ""},
		{[]string{"--tls-cert-file", cert}, false, "TLS_CERT_FILE (from flag): needs TLS_KEY_FILE"},
		{[]string{"--tls-key-file", key}, false, "TLS_KEY_FILE (from flag): needs TLS_CERT_FILE"},
		{[]string{"--tls-redirect-listen", ":80"}, false, "TLS_REDIRECT_LISTEN (from flag): there is no TLS"},
		{[]string{"--tls-cert-file", key, "--tls-key-file", key}, false, "TLS_CERT_FILE (from flag): tls:"},
		{[]string{"--tls-cert-file", filepath.Join(dir, "none"), "--tls-key-file", key}, false, "no such file"},
	} {
		fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		addSettings(fs)
		require.NoError(t, fs.Parse(c.args))
		v, err := loadSettings(fs)
		require.NoError(t, err)
		cfg := v.server(slog.New(slog.DiscardHandler))
		require.Equal(t, c.tls, cfg.http.TLS != nil, c.args)
		if c.bad == "" {
			require.NoError(t, v.err())
		} else {
			require.ErrorContains(t, v.err(), c.bad)
		}
	}
}
