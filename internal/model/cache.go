package model

import "crayon/internal/kernel"

// Cache holds the keys and values of one sequence in half precision. A fork
// continues a sequence without copying it: the parent must not change while
// forks of it are in use.
type Cache struct {
	parent *Cache
	base   int // positions that live in parent
	n      int // positions in all
	layers int
	kv     int // values a position: KVHeads x HeadDim
	room   int // positions there is memory for, a multiple of kernel.KeyLanes

	// buf is, for each layer, room positions of keys in panels (kernel.KeyLanes)
	// as wide as all heads together, and then room values.
	buf []uint16
}

// NewCache is an empty sequence. room is how many positions to make space for
// at first; the cache grows as needed.
func (m *Model) NewCache(room int) *Cache {
	c := &Cache{layers: m.Config.Layers, kv: m.Config.KVHeads * m.Config.HeadDim}
	c.reserve(room)
	return c
}

// Fork starts a sequence that shares c's positions.
func (c *Cache) Fork(room int) *Cache {
	f := &Cache{parent: c, base: c.n, n: c.n, layers: c.layers, kv: c.kv}
	f.reserve(room)
	return f
}

// Len is the number of positions held, the parent's included.
func (c *Cache) Len() int { return c.n }

// Bytes is the memory of the cache itself, without its parent's.
func (c *Cache) Bytes() int { return 2 * len(c.buf) }

// Truncate forgets all positions from n on; n must lie within this cache's own.
func (c *Cache) Truncate(n int) {
	if n >= c.base && n < c.n {
		c.n = n
	}
}

// reserve makes room for extra more positions in every layer.
func (c *Cache) reserve(extra int) {
	own := c.n - c.base
	if own+extra <= c.room {
		return
	}
	whole := func(n int) int { return (n + kernel.KeyLanes - 1) / kernel.KeyLanes * kernel.KeyLanes }
	old := *c
	c.room = whole(own + extra)
	if own > 0 {
		c.room = max(c.room, 2*old.room)
	}
	c.buf = make([]uint16, c.layers*2*c.room*c.kv)
	if own == 0 {
		return
	}
	for l := range c.layers {
		k, v := c.layer(l)
		oldK, oldV := old.layer(l)
		copy(k, oldK[:whole(own)*c.kv])
		copy(v, oldV[:own*c.kv])
	}
}

// layer is the memory of a layer's own keys and values.
func (c *Cache) layer(l int) (k, v []uint16) {
	n := c.room * c.kv
	b := c.buf[2*l*n : 2*(l+1)*n]
	return b[:n], b[n:]
}

// put stores the key and value of a position, kv values each; tmp is as long.
func (c *Cache) put(layer, pos int, k, v []float32, tmp []uint16) {
	keys, values := c.layer(layer)
	i := pos - c.base
	kernel.PutKey(keys, c.kv*kernel.KeyLanes, i, k, tmp)
	kernel.ToHalf(values[i*c.kv:(i+1)*c.kv], v)
}

// segment is a run of consecutive positions in memory.
type segment struct {
	k, v []uint16
	n    int
}

// segments lists the memory of positions [0, upto) in order.
func (c *Cache) segments(layer, upto int, dst []segment) []segment {
	if c.parent != nil && c.base > 0 {
		dst = c.parent.segments(layer, min(upto, c.base), dst)
	}
	if own := upto - c.base; own > 0 {
		k, v := c.layer(layer)
		dst = append(dst, segment{k: k, v: v, n: own})
	}
	return dst
}
