package model

// Cache holds the keys and values of one sequence. A fork continues a sequence
// without copying it: the parent must not change while forks of it are in use.
type Cache struct {
	parent *Cache
	base   int // positions that live in parent
	n      int // positions in all
	kv     int // floats a position: KVHeads x HeadDim
	k, v   [][]float32
}

// NewCache is an empty sequence. room is how many positions to make space for
// at first; the cache grows as needed.
func (m *Model) NewCache(room int) *Cache {
	c := &Cache{kv: m.Config.KVHeads * m.Config.HeadDim}
	c.k = make([][]float32, m.Config.Layers)
	c.v = make([][]float32, m.Config.Layers)
	c.reserve(room)
	return c
}

// Fork starts a sequence that shares c's positions.
func (c *Cache) Fork(room int) *Cache {
	f := &Cache{parent: c, base: c.n, n: c.n, kv: c.kv}
	f.k = make([][]float32, len(c.k))
	f.v = make([][]float32, len(c.v))
	f.reserve(room)
	return f
}

// Len is the number of positions held, the parent's included.
func (c *Cache) Len() int { return c.n }

// Truncate forgets all positions from n on; n must lie within this cache's own.
func (c *Cache) Truncate(n int) {
	if n >= c.base && n < c.n {
		c.n = n
	}
}

// reserve makes room for extra more positions in every layer.
func (c *Cache) reserve(extra int) {
	need := (c.n - c.base + extra) * c.kv
	for l := range c.k {
		if cap(c.k[l]) >= need {
			c.k[l], c.v[l] = c.k[l][:cap(c.k[l])], c.v[l][:cap(c.v[l])]
			continue
		}
		size := max(need, 2*len(c.k[l]))
		c.k[l] = append(make([]float32, 0, size), c.k[l]...)[:size]
		c.v[l] = append(make([]float32, 0, size), c.v[l]...)[:size]
	}
}

// segment is a run of consecutive positions in memory.
type segment struct {
	k, v []float32
	n    int
}

// segments lists the memory of positions [0, upto) in order.
func (c *Cache) segments(layer, upto int, dst []segment) []segment {
	if c.parent != nil && c.base > 0 {
		dst = c.parent.segments(layer, min(upto, c.base), dst)
	}
	if own := upto - c.base; own > 0 {
		dst = append(dst, segment{k: c.k[layer][:own*c.kv], v: c.v[layer][:own*c.kv], n: own})
	}
	return dst
}
