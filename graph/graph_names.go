package graph

import "hash/maphash"

// nameTable finds an entity by its name: a hash table of numbers with linear
// probing. The names lie in the nodes, so a slot takes four bytes where a Go map
// takes forty.
type nameTable struct {
	seed  maphash.Seed
	slots []uint32 // number + 1, or 0; a power of two long
	used  int
}

func (t *nameTable) home(name string) int {
	return int(maphash.String(t.seed, name) & uint64(len(t.slots)-1))
}

func (t *nameTable) find(name string, nodes []node) (uint32, bool) {
	if t.used == 0 {
		return 0, false
	}
	for i := t.home(name); ; i = (i + 1) & (len(t.slots) - 1) {
		s := t.slots[i]
		if s == 0 {
			return 0, false
		}
		if nodes[s-1].name == name {
			return s - 1, true
		}
	}
}

// add puts a node in that is not in the table.
func (t *nameTable) add(id uint32, nodes []node) {
	if 4*(t.used+1) > 3*len(t.slots) {
		t.resize(max(8, 2*len(t.slots)), nodes)
	}
	t.place(id, nodes)
	t.used++
}

func (t *nameTable) place(id uint32, nodes []node) {
	i := t.home(nodes[id].name)
	for t.slots[i] != 0 {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = id + 1
}

// remove takes a node out. Later slots of the run move up (Knuth, TAOCP 6.4,
// algorithm R), so that no grave markers pile up under churn.
func (t *nameTable) remove(id uint32, nodes []node) {
	mask := len(t.slots) - 1
	i := t.home(nodes[id].name)
	for t.slots[i] != id+1 {
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		s := t.slots[j]
		if s == 0 {
			break
		}
		// s may fill the gap unless its home lies behind it, in (i, j].
		if h := t.home(nodes[s-1].name); (j-h)&mask >= (j-i)&mask {
			t.slots[i] = s
			i = j
		}
	}
	t.slots[i] = 0
	t.used--
	if len(t.slots) > 8 && 8*t.used < len(t.slots) {
		t.resize(len(t.slots)/2, nodes)
	}
}

func (t *nameTable) resize(n int, nodes []node) {
	old := t.slots
	t.slots = make([]uint32, n)
	for _, s := range old {
		if s != 0 {
			t.place(s-1, nodes)
		}
	}
}
