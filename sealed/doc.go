// Package sealed is a file that says of itself whether it is whole: what an export of a
// knowledge base and a backup of a store are written as.
//
//	magic     "ALCOVE\r\n"           a transfer that changes line ends is noticed at once
//	header    length (4, big endian) | JSON: kind, format, signer, and what the writer says
//	body      length (4) | bytes, up to MaxBlock; a length of 0 ends it
//	trailer   length (4) | JSON: what the writer knows at the end only
//	sum       SHA-256 of all before
//	signature Ed25519 of the sum, if the header names a signer
//
// and nothing behind. Any byte that was changed, and any that is missing, is ErrBroken at
// the latest when the reader comes to the end; so who must not act on a part of a broken
// file calls Check first, which reads it through, and then reads it again.
package sealed
