package index

// Index is everything one knowledge base is searched by. A space is nil until
// the first vector tells its dimension. Who has the Index keeps those who put
// spaces in it apart from others.
type Index struct {
	Chunks    *Vectors // of passages
	Entities  *Vectors // of entity profiles
	Relations *Vectors // of relation profiles
	Text      *Lexical // of passages and their sentences
}

// Spaces are the vector spaces that are there.
func (x *Index) Spaces() []*Vectors {
	out := make([]*Vectors, 0, 3)
	for _, v := range []*Vectors{x.Chunks, x.Entities, x.Relations} {
		if v != nil {
			out = append(out, v)
		}
	}
	return out
}

// Bytes is the memory held by all parts that are there.
func (x *Index) Bytes() int64 {
	var n int64
	for _, v := range x.Spaces() {
		n += v.Bytes()
	}
	if x.Text != nil {
		n += x.Text.Bytes()
	}
	return n
}
