package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is the server's own, read again when its files change: what renews
// it need not know of us. A pair that does not load leaves the one in use as it is.
// Safe for concurrent use.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	mu      sync.Mutex
	loaded  *tls.Certificate
	stamp   [2]time.Time // of the files, when they were last read
	checked time.Time
}

const (
	// certificateCheck is how often the files are looked at while callers come.
	certificateCheck = 10 * time.Second
	// certificateWarning is how long before its end a certificate is warned of.
	certificateWarning = 14 * 24 * time.Hour
)

// tls reads what is said of TLS into cfg.
func (v *values) tls(cfg *serverConfig) {
	cert, key := v.str("TLS_CERT_FILE"), v.str("TLS_KEY_FILE")
	cfg.plain = v.str("TLS_REDIRECT_LISTEN")
	switch {
	case cert == "" && key == "":
		if cfg.plain != "" {
			v.bad("TLS_REDIRECT_LISTEN", "there is no TLS to redirect to: set TLS_CERT_FILE and TLS_KEY_FILE")
		}
		return
	case cert == "":
		v.bad("TLS_KEY_FILE", "needs TLS_CERT_FILE beside it")
		return
	case key == "":
		v.bad("TLS_CERT_FILE", "needs TLS_KEY_FILE beside it")
		return
	}
	c := &certificate{certFile: cert, keyFile: key, log: cfg.log, now: time.Now}
	if err := c.load(); err != nil {
		v.bad("TLS_CERT_FILE", "%v", err)
		return
	}
	cfg.http.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
}

// get returns the certificate in force.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.checked) >= certificateCheck {
		c.checked = now
		if stamp := c.stamps(); stamp != c.stamp {
			if err := c.load(); err != nil {
				c.log.Error("the changed certificate is not used; the old one stays", "file", c.certFile, "error", err.Error())
			} else {
				c.log.Info("certificate read again", "file", c.certFile, "until", c.loaded.Leaf.NotAfter)
			}
			c.stamp = stamp // a broken pair is told of once
		}
	}
	return c.loaded, nil
}

// load reads the pair, and refuses one that is over.
func (c *certificate) load() error {
	stamp := c.stamps()
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	if pair.Leaf == nil {
		if pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0]); err != nil {
			return err
		}
	}
	switch left := pair.Leaf.NotAfter.Sub(c.now()); {
	case left <= 0:
		return fmt.Errorf("the certificate ended at %s", pair.Leaf.NotAfter.Format(time.RFC3339))
	case left < certificateWarning:
		c.log.Warn("the certificate ends soon", "file", c.certFile, "until", pair.Leaf.NotAfter)
	}
	c.loaded, c.stamp = &pair, stamp
	return nil
}

// stamps are the times of the last change of the two files, zero for one that
// cannot be seen.
func (c *certificate) stamps() (out [2]time.Time) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			out[i] = info.ModTime()
		}
	}
	return out
}
