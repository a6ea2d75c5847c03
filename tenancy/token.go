package tenancy

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	tokenIssuer   = "alcove"
	tokenAudience = "alcove"
	// tokenType is the explicit type of an access token: RFC 9068, as RFC 8725
	// section 3.11 asks, so that no other kind of token passes for one.
	tokenType = "at+jwt"
	// maxTokenBytes bounds what is parsed before the signature is known to be good.
	maxTokenBytes = 8 << 10
	tokenLeeway   = 10 * time.Second
	// maxTokenTTL bounds how long a token can live, and with it how long a revoked
	// one has to be remembered.
	maxTokenTTL        = 366 * 24 * time.Hour
	defaultTokenTTL    = 24 * time.Hour
	maxSubjectBytes    = 64
	maxJTIBytes        = 64
	maxKBsOfCredential = 100 // a token with more would not fit its own limit
	cliTokenPrefix     = "cli-"
)

// TokenRequest says what a token shall hold.
type TokenRequest struct {
	Subject string // 1 to 64 of [A-Za-z0-9._@+-]
	System  bool   // a system admin: no Tenant, no KBs, Role empty or RoleSystem
	Tenant  string
	KBs     []string // ["*"] is all of the tenant's; none is none
	Role    Role
	// Permissions narrows the role if it is not nil. It can never widen it.
	Permissions []Permission
	TTL         time.Duration // 0 means 24 h; at most 366 days
	CLI         bool          // made at the command line: its first use is audited

	account, member uint64 // see claims; 0 for none
}

// TokenMinter returns a function that signs tokens with keys. It needs no open
// store, so that a token can be made beside a running server. The function returns a
// *FieldError for a request that no token can be made of, and is safe for
// concurrent use. A nil now is time.Now.
func TokenMinter(keys *TokenKeys, now func() time.Time) func(TokenRequest) (string, error) {
	if now == nil {
		now = time.Now
	}
	return func(q TokenRequest) (string, error) { return mint(keys, now(), q) }
}

func mint(keys *TokenKeys, now time.Time, q TokenRequest) (string, error) {
	if q.TTL == 0 {
		q.TTL = defaultTokenTTL
	}
	if q.TTL < time.Second || q.TTL > maxTokenTTL {
		return "", badField("ttl", fmt.Sprintf("must be from 1s to %s", maxTokenTTL))
	}
	if q.System && q.Role == "" {
		q.Role = RoleSystem
	}
	if q.System != (q.Role == RoleSystem) {
		return "", badField("role", "system is the role of a system admin and of nobody else")
	}
	c := claims{
		Issuer: tokenIssuer, Audience: []string{tokenAudience}, Subject: q.Subject,
		IssuedAt: now.Unix(), ExpiresAt: now.Add(q.TTL).Unix(), ID: newJTI(),
		Tenant: q.Tenant, KBs: q.KBs, Role: q.Role, Permissions: q.Permissions, Account: q.account, Member: q.member,
	}
	if q.CLI {
		c.ID = cliTokenPrefix + c.ID
	}
	if _, err := c.identity(); err != nil {
		return "", err
	}
	t := jwt.NewWithClaims(keys.method, &c)
	t.Header["typ"] = tokenType
	if keys.kid != "" {
		t.Header["kid"] = keys.kid
	}
	signed, err := t.SignedString(keys.sign)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if len(signed) > maxTokenBytes {
		return "", badField("knowledge_base_ids", "too many for one token")
	}
	return signed, nil
}

func newJTI() string { return base64.RawURLEncoding.EncodeToString(randomBytes(16)) }

// claims is the payload of a token.
type claims struct {
	Issuer      string       `json:"iss"`
	Subject     string       `json:"sub"`
	Audience    []string     `json:"aud"`
	ExpiresAt   int64        `json:"exp"`
	NotBefore   *int64       `json:"nbf,omitempty"`
	IssuedAt    int64        `json:"iat"`
	ID          string       `json:"jti"`
	Tenant      string       `json:"tenant_id,omitempty"`
	KBs         []string     `json:"knowledge_base_ids,omitempty"`
	Role        Role         `json:"role"`
	Permissions []Permission `json:"permissions,omitzero"`
	// Account and Member are the versions of the account that signed in and of its
	// membership: the token ends when either changes. A version is never given out
	// twice, so a clock has no say in this. A token without an account stands for
	// itself, as those made at the command line do.
	Account uint64 `json:"account,omitempty"`
	Member  uint64 `json:"member,omitempty"`
}

// UnmarshalJSON reads a payload strictly: only our claims, each once, each of its one
// type, times as whole numbers. The standard decoder takes the last of two equal
// names, ignores case, and lets numbers stand in quotes.
func (c *claims) UnmarshalJSON(b []byte) error {
	*c = claims{}
	return eachMember(b, func(name string, raw json.RawMessage) error {
		switch name {
		case "iss":
			return strictly(raw, &c.Issuer)
		case "sub":
			return strictly(raw, &c.Subject)
		case "aud":
			if raw[0] == '"' {
				c.Audience = make([]string, 1)
				return strictly(raw, &c.Audience[0])
			}
			return strictly(raw, &c.Audience)
		case "exp":
			return strictly(raw, &c.ExpiresAt)
		case "nbf":
			c.NotBefore = new(int64)
			return strictly(raw, c.NotBefore)
		case "iat":
			return strictly(raw, &c.IssuedAt)
		case "jti":
			return strictly(raw, &c.ID)
		case "tenant_id":
			return strictly(raw, &c.Tenant)
		case "knowledge_base_ids":
			return strictly(raw, &c.KBs)
		case "role":
			return strictly(raw, &c.Role)
		case "permissions":
			return strictly(raw, &c.Permissions)
		case "account":
			return strictly(raw, &c.Account)
		case "member":
			return strictly(raw, &c.Member)
		}
		return errors.New("unknown claim")
	})
}

// strictly decodes one value that must not be null.
func strictly(raw json.RawMessage, v any) error {
	if string(raw) == "null" {
		return errors.New("null")
	}
	return json.Unmarshal(raw, v)
}

// eachMember calls f for each member of the JSON object that b is, whole. A name
// that comes twice, and anything before or after the object, is an error.
func eachMember(b []byte, f func(name string, raw json.RawMessage) error) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return errors.New("not an object")
	}
	seen := make(map[string]bool, 16)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok || seen[name] {
			return errors.New("a name is missing or comes twice")
		}
		seen[name] = true
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return err
		}
		if err := f(name, raw); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the object")
	}
	return nil
}

// maxClaimTime keeps times out of the range where adding to them overflows: the year 9999.
const maxClaimTime = 253_402_300_799

// identity checks what the claims say beside what the JWT library checks, and
// returns who they stand for.
func (c *claims) identity() (*identity, error) {
	if !plainWord(c.Subject, maxSubjectBytes, "._@+-") {
		return nil, badField("sub", fmt.Sprintf("must be 1 to %d of letters, digits and ._@+-", maxSubjectBytes))
	}
	if !plainWord(c.ID, maxJTIBytes, "_-") {
		return nil, badField("jti", "malformed")
	}
	life := c.ExpiresAt - c.IssuedAt
	if c.IssuedAt <= 0 || c.IssuedAt > maxClaimTime || c.ExpiresAt > maxClaimTime || life <= 0 || life > int64(maxTokenTTL/time.Second) {
		return nil, badField("exp", "lives too long or not at all")
	}
	held, ok := roleRights[c.Role]
	if !ok {
		return nil, badField("role", "unknown role "+quoteShort(string(c.Role)))
	}
	who := &identity{
		name: "user:" + c.Subject, tenant: c.Tenant, system: c.Role == RoleSystem, role: c.Role,
		rights: held, issued: time.Unix(c.IssuedAt, 0), jti: c.ID, expires: time.Unix(c.ExpiresAt, 0),
		account: c.Account, member: c.Member, user: c.Subject,
	}
	if c.Permissions != nil {
		list, err := rightsFrom("permissions", c.Permissions)
		if err != nil {
			return nil, err
		}
		who.rights &= list
		who.narrowed = true
	}
	if who.system {
		if c.Tenant != "" || c.KBs != nil {
			return nil, badField("tenant_id", "a system admin belongs to no tenant")
		}
		who.allKBs = true
		return who, nil
	}
	if c.Role == RoleAccount {
		if c.Tenant != "" || c.KBs != nil || c.Account == 0 {
			return nil, badField("role", "account is the role of an account outside tenants")
		}
		return who, nil
	}
	if err := CheckID("tenant_id", c.Tenant); err != nil {
		return nil, err
	}
	var err error
	who.kbs, who.allKBs, err = kbList("knowledge_base_ids", c.KBs)
	return who, err
}

// plainWord reports whether s is 1 to most bytes of letters, digits and extra.
func plainWord(s string, most int, extra string) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return true
}

// The methods below are what the JWT library asks of claims. An absent time is nil,
// so that exp is missed if it is not there.

// GetExpirationTime returns exp.
func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return claimTime(c.ExpiresAt) }

// GetIssuedAt returns iat.
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error) { return claimTime(c.IssuedAt) }

// GetNotBefore returns nbf.
func (c *claims) GetNotBefore() (*jwt.NumericDate, error) {
	if c.NotBefore == nil {
		return nil, nil
	}
	return claimTime(*c.NotBefore)
}

// GetIssuer returns iss.
func (c *claims) GetIssuer() (string, error) { return c.Issuer, nil }

// GetSubject returns sub.
func (c *claims) GetSubject() (string, error) { return c.Subject, nil }

// GetAudience returns aud.
func (c *claims) GetAudience() (jwt.ClaimStrings, error) { return c.Audience, nil }

func claimTime(sec int64) (*jwt.NumericDate, error) {
	switch {
	case sec == 0:
		return nil, nil
	case sec < 0 || sec > maxClaimTime:
		return nil, errors.New("time out of range")
	}
	return jwt.NewNumericDate(time.Unix(sec, 0)), nil
}

// tokenParser returns a parser that takes the server's one method and nothing else,
// whatever a token's header asks for.
func tokenParser(method string, now func() time.Time) *jwt.Parser {
	return jwt.NewParser(
		jwt.WithValidMethods([]string{method}),
		jwt.WithIssuer(tokenIssuer), jwt.WithAudience(tokenAudience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(tokenLeeway),
		jwt.WithStrictDecoding(), jwt.WithTimeFunc(now),
	)
}

// verifyToken returns who a token stands for. Its errors are for tests and never
// leave this room: outside there is one answer.
func verifyToken(p *jwt.Parser, keys *TokenKeys, token string) (*identity, error) {
	if len(token) > maxTokenBytes {
		return nil, errors.New("too long")
	}
	// The decoder of the standard library skips line breaks; nothing else may pass.
	for i := 0; i < len(token); i++ {
		c := token[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return nil, errors.New("a character that is not base64url")
		}
	}
	head, rest, _ := strings.Cut(token, ".")
	if strings.Count(rest, ".") != 1 {
		return nil, errors.New("not three parts")
	}
	key, err := keys.forHeader(head)
	if err != nil {
		return nil, err
	}
	var c claims
	if _, err := p.ParseWithClaims(token, &c, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
		return nil, err
	}
	if !slices.Contains(c.Audience, tokenAudience) {
		return nil, errors.New("not for us")
	}
	return c.identity()
}

// forHeader takes exactly the header we write and returns the key it names. The method
// is the server's, never the header's; kid is looked up among the keys there are and is
// nothing else. No jku, x5u, jwk or crit: a token does not say how it is to be verified.
func (k *TokenKeys) forHeader(segment string) (key any, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(segment)
	if err != nil {
		return nil, err
	}
	var alg, typ, kid string
	err = eachMember(b, func(name string, raw json.RawMessage) error {
		switch {
		case name == "alg":
			return strictly(raw, &alg)
		case name == "typ":
			return strictly(raw, &typ)
		case name == "kid" && k.kid != "":
			return strictly(raw, &kid)
		}
		return errors.New("unknown header")
	})
	if err != nil {
		return nil, err
	}
	if alg != k.method.Alg() || typ != tokenType {
		return nil, errors.New("another algorithm or type")
	}
	key, ok := k.verify[kid]
	if !ok {
		return nil, errors.New("unknown kid")
	}
	return key, nil
}
