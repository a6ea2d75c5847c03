package tenancy

import "github.com/google/uuid"

// maxIDBytes is the longest slug: a DNS label.
const maxIDBytes = 63

// CheckID returns nil if id is spelled as a tenant or knowledge base id must be:
// a slug ([a-z0-9][a-z0-9-]{0,62}), which a lower-case hyphenated UUID is too.
// Anything else is an ErrBadID that names field: upper case, braces, "urn:uuid:",
// spaces and escapes would be second spellings of one id and are never mended.
func CheckID(field, id string) error {
	if !validID(id) {
		return &FieldError{Field: field, Err: ErrBadID,
			Message: "must be a slug of a-z, 0-9 and - (at most 63, not starting with -) or a lower-case UUID"}
	}
	return nil
}

func validID(id string) bool {
	if id == "" || len(id) > maxIDBytes || id[0] == '-' {
		return false
	}
	for i := 0; i < len(id); i++ {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// newID returns a random version 4 UUID in its one spelling.
func newID() string { return uuid.New().String() }
