package tenancy

import (
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"

	"github.com/golang-jwt/jwt/v5"
)

// The methods tokens can be signed with, in JWT's names. A server has one of them.
const (
	TokenHS256 = "HS256" // a secret that signs and verifies
	TokenRS256 = "RS256"
	TokenEdDSA = "EdDSA" // Ed25519
)

// minRSABits and maxRSABits bound an RSA key: below it could be factored (RFC 7518
// section 3.3), above it a signature costs what a caller should not be able to ask for.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// TokenKeys is what tokens are signed and verified with: one method, one key that
// signs, and by its id ("kid") each key that verifies: the one that signs and at most
// one other, which is the one before or the one to come. It is never changed. Printed it
// shows the method and the ids alone.
type TokenKeys struct {
	method jwt.SigningMethod
	kid    string // of the key that signs; "" for a secret: there is one
	sign   any
	verify map[string]any
}

// SecretKeys returns the keys of HS256 with a secret, which SecretFrom gives.
func SecretKeys(secret []byte) *TokenKeys {
	return &TokenKeys{method: jwt.SigningMethodHS256, sign: secret, verify: map[string]any{"": secret}}
}

// ParseTokenKeys reads the keys of RS256 or EdDSA from PEM: a private key (PKCS #8, or
// PKCS #1 for RSA) that signs, and a public or private key of which only the public half
// is used to verify what another key has signed; nil is none. Errors name the setting
// and never quote a key.
func ParseTokenKeys(method string, signs, verifies []byte) (*TokenKeys, error) {
	k := &TokenKeys{verify: map[string]any{}}
	switch method {
	case TokenRS256:
		k.method = jwt.SigningMethodRS256
	case TokenEdDSA:
		k.method = jwt.SigningMethodEdDSA
	default:
		return nil, badField("JWT_ALGORITHM", "must be HS256, RS256 or EdDSA")
	}
	if len(signs) == 0 {
		return nil, badField("TOKEN_KEY_FILE", "is missing: "+method+" signs with a private key in PEM")
	}
	private, public, err := k.parsePEM(signs)
	if err == nil && private == nil {
		err = errors.New("holds no private key")
	}
	if err != nil {
		return nil, badField("TOKEN_KEY_FILE", err.Error())
	}
	k.sign = private
	if k.kid, err = keyName(public); err != nil {
		return nil, badField("TOKEN_KEY_FILE", err.Error())
	}
	k.verify[k.kid] = public
	if verifies == nil {
		return k, nil
	}
	if _, public, err = k.parsePEM(verifies); err != nil {
		return nil, badField("TOKEN_VERIFY_KEY_FILE", err.Error())
	}
	kid, err := keyName(public)
	if err != nil {
		return nil, badField("TOKEN_VERIFY_KEY_FILE", err.Error())
	}
	k.verify[kid] = public
	return k, nil
}

// parsePEM reads the one key in b; private is nil if it is a public one.
func (k *TokenKeys) parsePEM(b []byte) (private, public any, err error) {
	block, rest := pem.Decode(b)
	if block == nil {
		return nil, nil, errors.New("is not a key in PEM")
	}
	if next, _ := pem.Decode(rest); next != nil {
		return nil, nil, errors.New("holds more than one key")
	}
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return nil, nil, errors.New("is not a PRIVATE KEY or PUBLIC KEY in PEM (an encrypted one is not read)")
	}
	if err != nil {
		return nil, nil, errors.New("holds a key that does not parse")
	}
	switch key := key.(type) {
	case ed25519.PrivateKey:
		private, public = key, key.Public()
	case ed25519.PublicKey:
		public = key
	case *rsa.PrivateKey:
		private, public = key, key.Public()
	case *rsa.PublicKey:
		public = key
	}
	switch public := public.(type) {
	case ed25519.PublicKey:
		if k.method == jwt.SigningMethodEdDSA {
			return private, public, nil
		}
	case *rsa.PublicKey:
		if n := public.N.BitLen(); n < minRSABits || n > maxRSABits {
			return nil, nil, fmt.Errorf("holds an RSA key of %d bits; %d to %d are taken", n, minRSABits, maxRSABits)
		}
		if k.method == jwt.SigningMethodRS256 {
			return private, public, nil
		}
	}
	return nil, nil, fmt.Errorf("holds a key of another kind than %s signs with", k.method.Alg())
}

// keyName is the id a public key goes by: it follows from the key, so that nobody has
// to give one out and two files with one key cannot disagree.
func keyName(public any) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", errors.New("holds a key that cannot be named")
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:16]), nil
}

// ID returns the id of the key that signs, "" for a secret.
func (k *TokenKeys) ID() string { return k.kid }

// String shows the method and the id of the key that signs.
func (k *TokenKeys) String() string { return k.method.Alg() + " " + k.kid }

// GoString is String: nothing prints a key.
func (k *TokenKeys) GoString() string { return k.String() }

// LogValue is String, for slog.
func (k *TokenKeys) LogValue() slog.Value { return slog.StringValue(k.String()) }
