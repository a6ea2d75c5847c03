// Package wordtable is the file of word vectors that the built-in models read:
// its format, its reader and writer, and the rule that cuts text into the words
// it is keyed by. The file itself is embedded by package builtin; the program in
// builtin/gen makes it. It imports nothing of alcove.
//
// A file is read where it lies. Opening one checks sizes and nothing else, a
// look-up touches the pages of the words it asks for, and no word, row or map
// is copied, so a table that is not used costs neither time nor memory.
package wordtable
