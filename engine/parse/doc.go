// Package parse turns the bytes of a file into text blocks with byte offsets.
//
// The type is decided by the name's ending and by the bytes: a PDF called
// notes.txt is a PDF. Read are plain text (.txt, .text or no ending), Markdown
// (.md, .markdown) and JSON (.json), all in UTF-8 with or without a byte order
// mark; offsets count the mark. Everything else is engine.ErrUnsupportedType.
//
// Text and Markdown are verbatim: the blocks are the file from its first byte to
// its last (behind the mark), Markdown one block for each heading. JSON becomes
// one line for each string, "path: value", in the order of the file; numbers and
// booleans are lines where they are members of an object and so have a name of
// their own, and are left out of arrays, where they are mostly vectors.
//
// The way back is here too, since it is the same library: HTML makes an answer's
// Markdown a piece of a page in which nothing is fetched or run.
//
// Start in parse.go.
package parse
