// Package alcove is the root of the module. It holds nothing but the handbook,
// which the demo ingests; the rooms are cmd, httpapi, tenancy, engine, index,
// graph and bench, each with its own doc.go. ARCHITECTURE.md is the map.
package alcove

import "embed"

// Handbook is the folder docs/handbook: Markdown pages for people who use alcove.
//
//go:embed docs/handbook/*.md
var Handbook embed.FS
