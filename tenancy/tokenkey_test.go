package tenancy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

func privatePEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func publicPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func newSigner(t testing.TB, method string) crypto.Signer {
	t.Helper()
	if method == TokenEdDSA {
		_, key, err := ed25519.GenerateKey(nil)
		require.NoError(t, err)
		return key
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

func tokenKeys(t testing.TB, method string, signs crypto.Signer, verifies crypto.Signer) *TokenKeys {
	t.Helper()
	var other []byte
	if verifies != nil {
		other = publicPEM(t, verifies)
	}
	k, err := ParseTokenKeys(method, privatePEM(t, signs), other)
	require.NoError(t, err)
	return k
}

// With key files a token is signed by one key and verified by two, told apart by kid; a
// key that is rotated out takes its tokens along (19); and every way to have a token
// verified by something else is refused (1 to 5, 20 to 22).
func TestTokenKeys(t *testing.T) {
	for _, method := range []string{TokenEdDSA, TokenRS256} {
		t.Run(method, func(t *testing.T) {
			dir, c := t.TempDir(), newClock()
			first, second, third := newSigner(t, method), newSigner(t, method), newSigner(t, method)
			with := func(k *TokenKeys) *Store {
				s, err := Open(Options{Dir: dir, TokenKeys: k, Now: c.now})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, s.Close()) })
				return s
			}
			in := func(s *Store, token string) error {
				_, err := s.Authenticate(ctxOf(t), Credential{Bearer: token})
				return err
			}
			one := tokenKeys(t, method, first, nil)
			s := with(one)
			token, err := s.MintToken(TokenRequest{Subject: "root", System: true})
			require.NoError(t, err)
			require.NoError(t, in(s, token))
			require.ErrorIs(t, s.RotateSecret(ctxOf(t)), ErrBadInput)
			head, err := b64.DecodeString(strings.Split(token, ".")[0])
			require.NoError(t, err)
			require.JSONEq(t, fmt.Sprintf(`{"alg":%q,"typ":"at+jwt","kid":%q}`, method, one.ID()), string(head))
			require.NoError(t, s.Close())

			// Rotation: the new key signs, the old one verifies; then it is gone.
			s = with(tokenKeys(t, method, second, first))
			require.NoError(t, in(s, token))
			fresh, err := s.MintToken(TokenRequest{Subject: "root", System: true})
			require.NoError(t, err)
			require.NoError(t, in(s, fresh))
			require.NoError(t, s.Close())
			s = with(tokenKeys(t, method, third, second))
			require.Equal(t, ErrUnauthenticated, in(s, token), "19 rotated out")
			require.NoError(t, in(s, fresh))

			parts := strings.Split(fresh, ".")
			payload, err := b64.DecodeString(parts[1])
			require.NoError(t, err)
			// forged signs with what it likes under a header it likes.
			forged := func(header string, m jwt.SigningMethod, key any) string {
				text := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString(payload)
				if m == nil {
					return text + "."
				}
				sig, err := m.Sign(text, key)
				require.NoError(t, err)
				return text + "." + b64.EncodeToString(sig)
			}
			kid, _ := keyName(third.Public())
			own, foreign := s.keys.Load().method, newSigner(t, method)
			header := func(alg, kid string) string { return fmt.Sprintf(`{"alg":%q,"typ":"at+jwt","kid":%q}`, alg, kid) }
			der, err := x509.MarshalPKIXPublicKey(third.Public())
			require.NoError(t, err)
			require.NoError(t, in(s, forged(header(method, kid), own, third)), "the token the others differ from is good")
			other := TokenRS256
			if method == TokenRS256 {
				other = TokenEdDSA
			}
			otherKey := newSigner(t, other)
			hostile := map[string]string{
				"01 alg none":                      forged(header("none", kid), nil, nil),
				"01 alg NONE":                      forged(header("NONE", kid), nil, nil),
				"02 empty signature":               parts[0] + "." + parts[1] + ".",
				"03 HS256 with the public key PEM": forged(header("HS256", kid), jwt.SigningMethodHS256, publicPEM(t, third)),
				"03 HS256 with the public key DER": forged(header("HS256", kid), jwt.SigningMethodHS256, der),
				"03 HMAC under our own alg":        forged(header(method, kid), jwt.SigningMethodHS256, der),
				"03 HS256 with an empty key":       forged(header("HS256", kid), jwt.SigningMethodHS256, []byte{}),
				"04 the other method":              forged(header(other, kid), jwt.GetSigningMethod(other), otherKey),
				"05 another size":                  forged(header("RS512", kid), jwt.SigningMethodHS512, der),
				"19 a foreign key under our kid":   forged(header(method, kid), own, foreign),
				"20 unknown kid":                   forged(header(method, strings.Repeat("0", 32)), own, third),
				"20 no kid":                        forged(`{"alg":"`+method+`","typ":"at+jwt"}`, own, third),
				"20 empty kid":                     forged(header(method, ""), own, third),
				"20 kid of the other key":          forged(header(method, func() string { k, _ := keyName(second.Public()); return k }()), own, third),
				"21 kid with a path":               forged(header(method, "../"+kid), own, third),
				"21 kid with quotes":               forged(header(method, `' OR '1'='1`), own, third),
				"21 kid with NUL":                  forged(`{"alg":"`+method+`","typ":"at+jwt","kid":"`+kid+`\u0000"}`, own, third),
				"21 kid as number":                 forged(`{"alg":"`+method+`","typ":"at+jwt","kid":1}`, own, third),
				"22 jwk":                           forged(`{"alg":"`+method+`","typ":"at+jwt","kid":"`+kid+`","jwk":{}}`, own, third),
				"22 jku":                           forged(`{"alg":"`+method+`","typ":"at+jwt","kid":"`+kid+`","jku":"https://example.org"}`, own, third),
				"22 x5c":                           forged(`{"alg":"`+method+`","typ":"at+jwt","kid":"`+kid+`","x5c":[]}`, own, third),
				"22 crit":                          forged(`{"alg":"`+method+`","typ":"at+jwt","kid":"`+kid+`","crit":["exp"]}`, own, third),
				"23 kid twice":                     forged(`{"alg":"`+method+`","typ":"at+jwt","kid":"x","kid":"`+kid+`"}`, own, third),
			}
			for name, text := range hostile {
				require.Equal(t, ErrUnauthenticated, in(s, text), name)
			}
		})
	}
}

// A key file that is not one of the method's keys is refused by the setting's name and
// nothing of it is said; what is printed of keys is no key.
func TestParseTokenKeys_Refuses(t *testing.T) {
	ed, rs := newSigner(t, TokenEdDSA), newSigner(t, TokenRS256)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	secret := privatePEM(t, ed)
	for name, c := range map[string]struct {
		method          string
		signs, verifies []byte
		field           string
	}{
		"no method":            {"none", secret, nil, "JWT_ALGORITHM"},
		"HS256 with files":     {TokenHS256, secret, nil, "JWT_ALGORITHM"},
		"no file":              {TokenEdDSA, nil, nil, "TOKEN_KEY_FILE"},
		"no PEM":               {TokenEdDSA, []byte("hunter2"), nil, "TOKEN_KEY_FILE"},
		"a public key":         {TokenEdDSA, publicPEM(t, ed), nil, "TOKEN_KEY_FILE"},
		"RSA for EdDSA":        {TokenEdDSA, privatePEM(t, rs), nil, "TOKEN_KEY_FILE"},
		"Ed25519 for RS256":    {TokenRS256, secret, nil, "TOKEN_KEY_FILE"},
		"a small RSA key":      {TokenRS256, privatePEM(t, small), nil, "TOKEN_KEY_FILE"},
		"ECDSA":                {TokenEdDSA, privatePEM(t, ec), nil, "TOKEN_KEY_FILE"},
		"two keys in one file": {TokenEdDSA, append(privatePEM(t, ed), privatePEM(t, ed)...), nil, "TOKEN_KEY_FILE"},
		"a broken key":         {TokenEdDSA, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hunter2")}), nil, "TOKEN_KEY_FILE"},
		"a certificate":        {TokenEdDSA, secret, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("hunter2")}), "TOKEN_VERIFY_KEY_FILE"},
		"another kind":         {TokenEdDSA, secret, publicPEM(t, rs), "TOKEN_VERIFY_KEY_FILE"},
	} {
		_, err := ParseTokenKeys(c.method, c.signs, c.verifies)
		var f *FieldError
		require.ErrorAs(t, err, &f, name)
		require.Equal(t, c.field, f.Field, name)
		require.NotContains(t, err.Error(), "hunter2")
	}
	k := tokenKeys(t, TokenEdDSA, ed, ed)
	require.Len(t, k.verify, 1, "the same key twice is one")
	shown := fmt.Sprintf("%v %+v %#v %s", k, k, k, k)
	require.Equal(t, strings.Repeat("EdDSA "+k.ID()+" ", 3)+"EdDSA "+k.ID(), shown)
	require.Equal(t, "HS256 ", SecretKeys([]byte("hunter2")).String())
}

// 15, 16, 17: a token whose signature is right is worth nothing for another tenant, for a
// suspended or deleted one, or once its account is off; and no claim makes a token of
// an account that did not sign in.
func TestAuthenticate_TokensOfAccounts(t *testing.T) {
	s, _ := open(t, Options{hashCost: cheap})
	found(t, s, "acme/main", "globex/main")
	newUser(t, s, "ada", false)
	join(t, s, "acme", MemberInput{User: "ada", Role: RoleViewer})
	ses, p := mustLogin(t, s, SignIn{User: "ada"})
	secret := s.keys.Load().sign.([]byte)
	payload, err := b64.DecodeString(strings.Split(ses.Token, ".")[1])
	require.NoError(t, err)
	forged := func(from, to string) error {
		require.Contains(t, string(payload), from)
		_, err := s.Authenticate(ctxOf(t), Credential{Bearer: forge(secret, goodHeader, strings.Replace(string(payload), from, to, 1))})
		return err
	}
	account, member := fmt.Sprintf(`"account":%d`, p.who.account), fmt.Sprintf(`"member":%d`, p.who.member)
	require.NoError(t, forged(account, account), "the token the others differ from is good")
	for name, change := range map[string][2]string{
		"another tenant":               {`"tenant_id":"acme"`, `"tenant_id":"globex"`},
		"another account":              {account, fmt.Sprintf(`"account":%d`, p.who.account+1)},
		"an earlier membership":        {member, fmt.Sprintf(`"member":%d`, p.who.member-1)},
		"no membership":                {"," + member, ""},
		"another's name":               {`"sub":"ada"`, `"sub":"eve"`},
		"account as text":              {account, `"account":"1"`},
		"account below 0":              {account, `"account":-1`},
		"account as float":             {account, `"account":1.5`},
		"a role outside tenants":       {`"role":"viewer"`, `"role":"account"`},
		"an account made system admin": {`"role":"viewer"`, `"role":"system"`},
	} {
		require.Equal(t, ErrUnauthenticated, forged(change[0], change[1]), name)
	}
	_, err = s.MintToken(TokenRequest{Subject: "ada", Role: RoleAccount})
	require.ErrorIs(t, err, ErrBadInput)

	_, err = s.Enter(ctxOf(t), p, "globex", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrDenied, "15")
	off := false
	_, err = s.UpdateTenant(ctxOf(t), admin(t, s), "acme", TenantUpdate{IsActive: &off})
	require.NoError(t, err)
	_, err = s.Enter(ctxOf(t), p, "acme", "main", PermQueryRun)
	require.ErrorIs(t, err, ErrTenantSuspended, "16")
	_, err = s.UpdateUser(ctxOf(t), admin(t, s), "ada", UserUpdate{IsActive: &off})
	require.NoError(t, err)
	isOut(t, s, ses, "17")
	_, err = login(s, t, SignIn{User: "ada", Addr: netip.MustParseAddr("192.0.2.1")})
	require.Equal(t, ErrUnauthenticated, err)
}

// A tenant's tokens end together, those made at the command line too; its keys stay.
func TestEndTenantTokens(t *testing.T) {
	s, c := open(t, Options{})
	found(t, s, "acme/main", "globex/main")
	mint := func(q TokenRequest) string {
		token, err := s.MintToken(q)
		require.NoError(t, err)
		return token
	}
	own := mint(TokenRequest{Subject: "ada", Tenant: "acme", Role: RoleAdmin, KBs: []string{"*"}})
	other := mint(TokenRequest{Subject: "ada", Tenant: "globex", Role: RoleAdmin})
	key := newKey(t, s, admin(t, s), "acme", KeyInput{})
	require.ErrorIs(t, s.EndTenantTokens(ctxOf(t), member(t, s, "globex", RoleAdmin), "acme"), ErrDenied)
	require.ErrorIs(t, s.EndTenantTokens(ctxOf(t), member(t, s, "acme", RoleEditor), "acme"), ErrDenied)
	require.NoError(t, s.EndTenantTokens(ctxOf(t), member(t, s, "acme", RoleAdmin), "acme"))
	_, err := s.Authenticate(ctxOf(t), Credential{Bearer: own})
	require.Equal(t, ErrUnauthenticated, err)
	_, err = s.Authenticate(ctxOf(t), Credential{Bearer: other})
	require.NoError(t, err)
	signIn(t, s, key)
	admin(t, s)
	c.add(time.Second)
	member(t, s, "acme", RoleAdmin)
	require.ErrorIs(t, s.EndUserTokens(ctxOf(t), member(t, s, "acme", RoleAdmin), "ada"), ErrDenied)
	require.ErrorIs(t, s.EndUserTokens(ctxOf(t), admin(t, s), "ada"), ErrNotFound)
}
