package model

// Block is the number of positions in multiples of which caches can be cut and
// copied.
const Block = 32

// Append copies positions [lo, hi) of from, which are to follow c's own. Neither
// cache may be a fork, and lo, hi and c's length are multiples of Block. Others
// may read from meanwhile.
func (c *Cache) Append(from *Cache, lo, hi int) {
	c.reserve(hi - lo)
	for l := range c.layers {
		k, v := c.layer(l)
		fromK, fromV := from.layer(l)
		copy(k[c.n*c.kv:], fromK[lo*c.kv:hi*c.kv])
		copy(v[c.n*c.kv:], fromV[lo*c.kv:hi*c.kv])
	}
	c.n += hi - lo
}
