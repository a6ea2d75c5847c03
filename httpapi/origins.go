package httpapi

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/rs/cors"
)

// preflightSeconds is how long a browser may remember what it was told.
const preflightSeconds = 600

// checkOrigins returns an error that names the first entry that is neither "*"
// alone nor an origin as a browser sends it: scheme, host and port, in lower case,
// and nothing else.
func checkOrigins(origins []string) error {
	for _, o := range origins {
		if o == "*" && len(origins) == 1 {
			continue
		}
		u, err := url.Parse(o)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || o != u.Scheme+"://"+u.Host ||
			o != strings.ToLower(o) || strings.ContainsRune(o, '*') {
			return fmt.Errorf("%q is no origin: scheme://host or scheme://host:port in lower case, or * alone", shorten(o))
		}
	}
	return nil
}

// crossOrigin lets web pages of the listed origins ask this server (CORS, the
// Fetch standard); nil with none: a browser then keeps every other page out.
// Credentials are never allowed in the sense of the standard: a page must send its
// key or token itself, in a header, and no cookie stands for it.
func crossOrigin(origins []string) *cors.Cors {
	if len(origins) == 0 {
		return nil
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{get, post, put, del},
		AllowedHeaders: []string{"Authorization", "X-API-Key", "Content-Type", "X-Request-ID", "Idempotency-Key", "If-Match", "traceparent"},
		ExposedHeaders: []string{"X-Request-ID", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Retry-After", "ETag"},
		MaxAge:         preflightSeconds,
	})
}
