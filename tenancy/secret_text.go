package tenancy

import "log/slog"

// masked is what a Secret shows of itself.
const masked = "***"

// Secret is a text that must not be seen: a key, a password, a token. Printed, logged
// or encoded it is ***, whatever it is a field of; Reveal is the one way to its content,
// and converting it to a string.
type Secret string

// Reveal returns the content.
func (s Secret) Reveal() string { return string(s) }

// String returns ***, or nothing if there is none.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return masked
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return `"` + s.String() + `"` }

// LogValue is String, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String, for JSON and whatever else encodes.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
