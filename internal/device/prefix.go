package device

import (
	"container/list"
	"math"
	"sync"

	"crayon/internal/model"
)

// prefixes keeps the keys and values of texts that were computed, so that a text
// which begins as an earlier one did, under the same adapter, goes on from there.
//
// Texts are kept as a tree of blocks, a tree for each content of a row. Rows and
// tokens are compared in full, never by a hash alone. Blocks are copied in and
// out: they do not change, and a sequence depends on no other. A Device has one
// model and one Side for good, so that neither is part of the key.
//
// It lives in memory only. A nil *prefixes keeps nothing.
type prefixes struct {
	budget int // bytes
	room   func(positions int) *model.Cache

	mu    sync.Mutex
	roots map[string]*block // by rowKey
	used  list.List         // of *block, the one used last in front; blocks come before those that follow them in a text
	stats PrefixStats
}

// PrefixStats counts what prefixes brought.
type PrefixStats struct {
	Hits, Misses int64 // texts of more than one block that began, or did not begin, as an earlier one did
	Tokens       int64 // that were not computed again
	Bytes        int   // taken at present
}

type words [model.Block]int32

// block is model.Block positions of a text, and what may follow.
type block struct {
	words words
	cache *model.Cache // of these positions alone
	next  map[words]*block
	prev  *block // nil: a root
	row   string // of a root
	at    *list.Element
}

func newPrefixes(budget int, room func(int) *model.Cache) *prefixes {
	if budget <= 0 {
		return nil
	}
	return &prefixes{budget: budget, room: room, roots: map[string]*block{}}
}

// rowKey is a row's bits; the base model's is that of no row at all.
func rowKey(row []float32) string {
	b := make([]byte, 0, 4*len(row))
	for _, w := range row {
		x := math.Float32bits(w)
		b = append(b, byte(x), byte(x>>8), byte(x>>16), byte(x>>24))
	}
	return string(b)
}

// walk follows tokens through the tree of a row for as long as blocks are there,
// at most n of them, and marks them as used.
func (p *prefixes) walk(row string, tokens []int32, n int) []*block {
	var path []*block
	for b := p.roots[row]; b != nil && len(path) < n; {
		if b = b.next[words(tokens[len(path)*model.Block:])]; b != nil {
			path = append(path, b)
		}
	}
	for i := len(path) - 1; i >= 0; i-- {
		p.used.MoveToFront(path[i].at)
	}
	return path
}

// load puts what is known of tokens into an empty cache, all but the last token
// at most, and returns the number of positions.
func (p *prefixes) load(row []float32, tokens []int32, into *model.Cache) int {
	most := (len(tokens) - 1) / model.Block
	if p == nil || most < 1 {
		return 0
	}
	key := rowKey(row)
	p.mu.Lock()
	path := p.walk(key, tokens, most)
	if len(path) > 0 {
		p.stats.Hits++
	} else {
		p.stats.Misses++
	}
	n := len(path) * model.Block
	p.stats.Tokens += int64(n)
	p.mu.Unlock()
	for _, b := range path {
		into.Append(b.cache, 0, model.Block)
	}
	return n
}

// keep remembers the whole blocks of tokens, which from holds.
func (p *prefixes) keep(row []float32, tokens []int32, from *model.Cache) {
	if p == nil {
		return
	}
	key, n := rowKey(row), len(tokens)/model.Block
	p.mu.Lock()
	known := len(p.walk(key, tokens, n))
	p.mu.Unlock()
	// Copying takes time, so others may look meanwhile.
	var fresh []*block
	for i := known; i < n; i++ {
		b := &block{cache: p.room(model.Block)}
		if (i+1)*b.cache.Bytes() > p.budget {
			break
		}
		b.cache.Append(from, i*model.Block, (i+1)*model.Block)
		fresh = append(fresh, b)
	}
	if len(fresh) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	at := p.roots[key]
	if at == nil {
		at = &block{row: key, next: map[words]*block{}}
		p.roots[key] = at
	}
	for i := range known + len(fresh) {
		w := words(tokens[i*model.Block:])
		b := at.next[w]
		if b == nil && i < known { // dropped meanwhile
			break
		}
		if b == nil {
			b = fresh[i-known]
			b.words, b.prev, b.next = w, at, map[words]*block{}
			b.at = p.used.PushFront(b)
			p.stats.Bytes += b.cache.Bytes()
			at.next[w] = b
		}
		at = b
	}
	p.walk(key, tokens, known+len(fresh))
	for p.stats.Bytes > p.budget {
		p.remove(p.used.Back().Value.(*block))
	}
	if root := p.roots[key]; root != nil && len(root.next) == 0 {
		delete(p.roots, key)
	}
}

// remove takes a block out that nothing follows.
func (p *prefixes) remove(b *block) {
	p.used.Remove(b.at)
	p.stats.Bytes -= b.cache.Bytes()
	delete(b.prev.next, b.words)
	if b.prev.prev == nil && len(b.prev.next) == 0 {
		delete(p.roots, b.prev.row)
	}
}

// drop forgets all texts under a row.
func (p *prefixes) drop(row []float32) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if root := p.roots[rowKey(row)]; root != nil {
		p.prune(root)
		delete(p.roots, root.row)
	}
}

// dropLong forgets all texts under rows of more than from and up to to weights.
func (p *prefixes) dropLong(from, to int) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, root := range p.roots {
		if n := len(key) / 4; n > from && n <= to {
			p.prune(root)
			delete(p.roots, key)
		}
	}
}

func (p *prefixes) prune(b *block) {
	for _, next := range b.next {
		p.prune(next)
		p.remove(next)
	}
}

// Stats are the counts so far.
func (p *prefixes) counts() PrefixStats {
	if p == nil {
		return PrefixStats{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}
