package parse

import "encoding/xml"

// formula writes the structure of a formula (Office Math) as LaTeX does: fractions,
// roots, what stands above and below, sums and brackets. Letters and signs stay as
// they are.
type formula struct {
	open []bracket
}

// bracket is a pair of brackets that is open, with its parts.
type bracket struct {
	left, right, between string
	parts                int
	sum                  bool // a sum or an integral: left is its sign
	braced               bool // its parts stand in braces
}

// begin is what is written where an element of a formula begins.
func (f *formula) begin(e xml.StartElement) string {
	n := len(f.open)
	switch e.Name.Local {
	case "f":
		return `\frac`
	case "num", "den":
		return "{"
	case "rad":
		f.open = append(f.open, bracket{braced: true})
		return `\sqrt`
	case "deg":
		return "["
	case "sup":
		return "^{"
	case "sub":
		return "_{"
	case "lim":
		return "_{"
	case "d":
		f.open = append(f.open, bracket{left: "(", right: ")", between: "|"})
	case "nary":
		f.open = append(f.open, bracket{left: "∫", sum: true})
	case "sSup", "sSub", "sSubSup", "sPre", "func", "acc", "bar", "box", "borderBox", "eqArr", "groupChr", "limLow", "limUpp", "m", "phant":
		f.open = append(f.open, bracket{})
	case "begChr", "endChr", "sepChr", "chr":
		if n == 0 || f.open[n-1].right == "" && !f.open[n-1].sum {
			return ""
		}
		v := attr(e, "val")
		switch b := &f.open[n-1]; e.Name.Local {
		case "begChr", "chr":
			b.left = v
		case "endChr":
			b.right = v
		case "sepChr":
			b.between = v
		}
	case "e":
		if n == 0 {
			return ""
		}
		switch b := &f.open[n-1]; {
		case b.braced:
			return "{"
		case b.right != "":
			if b.parts++; b.parts > 1 {
				return b.between
			}
			return b.left
		}
	}
	return ""
}

// end is what is written where it ends.
func (f *formula) end(e xml.EndElement) string {
	n := len(f.open)
	switch e.Name.Local {
	case "num", "den", "sup", "sub", "lim":
		return "}"
	case "e":
		if n > 0 && f.open[n-1].braced {
			return "}"
		}
	case "deg":
		return "]"
	case "naryPr":
		if n > 0 && f.open[n-1].sum {
			return f.open[n-1].left
		}
	case "d", "nary", "rad", "sSup", "sSub", "sSubSup", "sPre", "func", "acc", "bar", "box", "borderBox", "eqArr", "groupChr", "limLow", "limUpp", "m", "phant":
		if n == 0 {
			return ""
		}
		b := f.open[n-1]
		f.open = f.open[:n-1]
		if b.parts > 0 {
			return b.right
		}
	}
	return ""
}
