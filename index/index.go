package index

// Index is everything one knowledge base is searched by. A space is nil until
// the first vector tells its dimension. Readers and writers are kept apart by
// the owner of the Index.
type Index struct {
	Chunks    *Vectors // of passages
	Entities  *Vectors // of entity profiles
	Relations *Vectors // of relation profiles
	Text      *Lexical // of passages and their sentences
}

// Bytes is the memory held by all parts that are there.
func (x *Index) Bytes() int64 {
	var n int64
	for _, v := range []*Vectors{x.Chunks, x.Entities, x.Relations} {
		if v != nil {
			n += v.Bytes()
		}
	}
	if x.Text != nil {
		n += x.Text.Bytes()
	}
	return n
}
