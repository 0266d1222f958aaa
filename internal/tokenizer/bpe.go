package tokenizer

import (
	"fmt"
	"hash/maphash"
	"math"
	"math/bits"
	"strings"
)

// The cache holds the ids of short words, one a slot, the newest winning: at
// most cacheSlots*(maxCachedWord bytes + as many ids).
const (
	cacheSlots    = 1 << 14
	maxCachedWord = 48
)

type cached struct {
	word string
	ids  []int32
}

// mergeTable maps a pair of neighbours to the rank of their merge and the token
// it makes. Open addressing: one cache line a look-up, where a Go map of 150,000
// pairs costs several.
type mergeTable struct {
	slots []mergeSlot
	shift uint
}

type mergeSlot struct {
	pair uint64 // left<<32 | right, +1 so that 0 is free
	rank uint32
	id   int32
}

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) + 1 }

func (m *mergeTable) slot(key uint64) uint64 { return key * 0x9E3779B97F4A7C15 >> m.shift }

// build fills the table; ids are the ordinary tokens as merges write them.
func (m *mergeTable) build(merges []string, ids map[string]int32) error {
	size := 1 << bits.Len(uint(2*len(merges)+1))
	m.slots, m.shift = make([]mergeSlot, size), uint(64-bits.TrailingZeros(uint(size)))
	var joined []byte
	for rank, merge := range merges {
		l, r, ok := strings.Cut(merge, " ")
		if !ok {
			return fmt.Errorf("merge %d (%q) is not two tokens", rank, merge)
		}
		joined = append(append(joined[:0], l...), r...)
		left, okL := ids[l]
		right, okR := ids[r]
		made, okM := ids[string(joined)]
		if !okL || !okR || !okM {
			return fmt.Errorf("merge %d (%q) is of or to something that is no token", rank, merge)
		}
		key := pairKey(left, right)
		for i := m.slot(key); ; i = (i + 1) & uint64(size-1) {
			s := &m.slots[i]
			if s.pair == key {
				return fmt.Errorf("merge %d (%q) is also merge %d", rank, merge, s.rank)
			}
			if s.pair == 0 {
				*s = mergeSlot{key, uint32(rank), made}
				break
			}
		}
	}
	return nil
}

const noRank = math.MaxUint32

// find is the rank and product of a merge; rank noRank when there is none.
func (m *mergeTable) find(left, right int32) (uint32, int32) {
	key := pairKey(left, right)
	mask := uint64(len(m.slots) - 1)
	for i := m.slot(key); ; i = (i + 1) & mask {
		s := &m.slots[i]
		if s.pair == key {
			return s.rank, s.id
		}
		if s.pair == 0 {
			return noRank, -1
		}
	}
}

// encode appends the ids of text, words cut by the tokenizer's rule.
func (t *Tokenizer) encode(dst []int32, text string) []int32 {
	t.split(text, func(word string) { dst = t.word(dst, word) })
	return dst
}

// word appends the ids of one word.
func (t *Tokenizer) word(dst []int32, word string) []int32 {
	if len(word) == 1 {
		if id := t.base[word[0]]; id >= 0 {
			dst = append(dst, id)
		}
		return dst
	}
	if len(word) > maxCachedWord {
		return t.merge(dst, word)
	}
	slot := &t.cache[maphash.String(t.seed, word)%cacheSlots]
	if c := slot.Load(); c != nil && c.word == word {
		return append(dst, c.ids...)
	}
	n := len(dst)
	dst = t.merge(dst, word)
	slot.Store(&cached{strings.Clone(word), append([]int32(nil), dst[n:]...)})
	return dst
}

// merge appends the ids of one word by merging its bytes, best rank first and
// leftmost of equals, as the published algorithm does.
func (t *Tokenizer) merge(dst []int32, word string) []int32 {
	if id, ok := t.words[word]; ok {
		return append(dst, id)
	}
	n := len(dst)
	for i := 0; i < len(word); i++ {
		if id := t.base[word[i]]; id >= 0 {
			dst = append(dst, id)
		}
	}
	if len(dst)-n > shortWord {
		return dst[:n+t.mergeLong(dst[n:])]
	}
	// Few symbols: rescanning the ranks beats keeping a heap.
	var ranks [shortWord]uint32
	var made [shortWord]int32
	syms := dst[n:]
	for i := 0; i+1 < len(syms); i++ {
		ranks[i], made[i] = t.merges.find(syms[i], syms[i+1])
	}
	for len(syms) > 1 {
		best, at := uint32(noRank), 0
		for i, r := range ranks[:len(syms)-1] {
			if r < best {
				best, at = r, i
			}
		}
		if best == noRank {
			break
		}
		syms[at] = made[at]
		last := len(syms) - 1
		copy(syms[at+1:], syms[at+2:])
		if at+1 < last {
			copy(ranks[at+1:], ranks[at+2:last])
			copy(made[at+1:], made[at+2:last])
		}
		syms = syms[:last]
		if at > 0 {
			ranks[at-1], made[at-1] = t.merges.find(syms[at-1], syms[at])
		}
		if at+1 < len(syms) {
			ranks[at], made[at] = t.merges.find(syms[at], syms[at+1])
		}
	}
	return dst[:n+len(syms)]
}

const shortWord = 32

// candidate is a possible merge of the symbol at left with its right neighbour.
type candidate struct {
	rank uint32
	left int32
	pair uint64 // what the two were when this was found; stale when changed
	id   int32
}

func (a candidate) before(b candidate) bool {
	return a.rank < b.rank || a.rank == b.rank && a.left < b.left
}

// mergeLong merges syms in place in O(n log n) and returns how many are left: a
// "word" can be a megabyte of letters without a space.
func (t *Tokenizer) mergeLong(syms []int32) int {
	n := int32(len(syms))
	prev, next := make([]int32, n), make([]int32, n)
	heap := make([]candidate, 0, n)
	push := func(left int32) {
		right := next[left]
		if right >= n {
			return
		}
		rank, id := t.merges.find(syms[left], syms[right])
		if rank == noRank {
			return
		}
		heap = append(heap, candidate{rank, left, pairKey(syms[left], syms[right]), id})
		for i := len(heap) - 1; i > 0; {
			up := (i - 1) / 2
			if !heap[i].before(heap[up]) {
				break
			}
			heap[i], heap[up] = heap[up], heap[i]
			i = up
		}
	}
	for i := range n {
		prev[i], next[i] = i-1, i+1
	}
	for i := range n - 1 {
		push(i)
	}
	for len(heap) > 0 {
		c := heap[0]
		last := len(heap) - 1
		heap[0], heap = heap[last], heap[:last]
		for i := 0; ; {
			down := 2*i + 1
			if down >= last {
				break
			}
			if down+1 < last && heap[down+1].before(heap[down]) {
				down++
			}
			if !heap[down].before(heap[i]) {
				break
			}
			heap[i], heap[down] = heap[down], heap[i]
			i = down
		}
		right := next[c.left]
		if syms[c.left] < 0 || right >= n || pairKey(syms[c.left], syms[right]) != c.pair {
			continue
		}
		syms[c.left], syms[right] = c.id, -1
		next[c.left] = next[right]
		if next[c.left] < n {
			prev[next[c.left]] = c.left
		}
		push(c.left)
		if prev[c.left] >= 0 {
			push(prev[c.left])
		}
	}
	k := 0
	for _, s := range syms {
		if s >= 0 {
			syms[k] = s
			k++
		}
	}
	return k
}
