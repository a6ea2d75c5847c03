// Package parse makes text of files: blocks with byte offsets under headings, in
// pages, slides and sheets.
//
// What a file is, its bytes say (sniff.go); the ending of its name only settles
// between formats of text, which bytes do not tell apart. Text, Markdown and source
// code in UTF-8 are verbatim: the blocks are the file from its first byte to its last
// (behind the mark), Markdown one block for each heading. JSON becomes one line for
// each string, "path: value", in the order of the file; numbers and booleans are lines
// where they are members of an object and so have a name of their own, and are left
// out of arrays, where they are mostly vectors. Of everything else a text is made
// (draft.go), and offsets are into that.
//
// Files come from strangers. Each is held to Limits (limits.go); archives (archive.go)
// and XML (xmlpart.go) are read through one place each that keeps the bounds; and a
// server reads every file that is not plain text in a child process of its own program
// (nursery.go starts it, child.go is it, confine_*.go and memory.go hold it), so that a
// hang or a crash costs one document. PDFium runs in a WebAssembly sandbox within that
// (pdf.go; the build tag nopdf leaves it out).
//
// One file a format: docx.go (with formula.go and, for Word's single-file form,
// flatopc.go), pptx.go, xlsx.go, odf.go, webpage.go, book.go (EPUB), rtf.go,
// tabular.go, xml.go, subtitles.go, eml.go, json.go, markdown.go; opc.go is what Office
// files have in common, charset.go finds out how a text is encoded. What each format
// keeps and leaves out is in docs/handbook/formats.md.
//
// The way back is here too, since it is the same library: HTML makes an answer's
// Markdown a piece of a page in which nothing is fetched or run.
//
// Start in parse.go.
package parse
