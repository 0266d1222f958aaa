package strategy

import (
	"crypto/sha256"
	"encoding/binary"
	"math"

	"crayon/internal/adapter"
)

// batch collects asks, equal ones once.
type batch struct {
	asks []Ask
	at   map[Key]int
}

// add returns the ask's place.
func (b *batch) add(a Ask) int { return b.put(a.Key(), a) }

// put is add of an ask whose key is known.
func (b *batch) put(k Key, a Ask) int {
	if b.at == nil {
		b.at = map[Key]int{}
	}
	i, ok := b.at[k]
	if !ok {
		i = len(b.asks)
		b.at[k] = i
		b.asks = append(b.asks, a)
	}
	return i
}

// Key is equal for asks of the same content. A private adapter is told by its
// first pair of matrices, which are not changed once they are asked with.
type Key struct {
	content string
	scale   float32
	private *adapter.Pair
}

// Sum is a digest of the key that outlives the process: private is one of the
// private adapter's matrices, zeros where there is none.
func (k *Key) Sum(private [sha256.Size]byte) [sha256.Size]byte {
	b := append([]byte("ask\x00"), private[:]...)
	b = binary.LittleEndian.AppendUint32(b, math.Float32bits(k.scale))
	return sha256.Sum256(append(b, k.content...))
}

// Key is what scores can be remembered by.
func (a *Ask) Key() Key {
	b := make([]byte, 0, 256)
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(a.Text)
	b = binary.AppendUvarint(b, uint64(len(a.Shots)))
	for _, s := range a.Shots {
		text(s.Text)
		text(s.Answer)
	}
	b = binary.AppendUvarint(b, uint64(len(a.Candidates)))
	for _, c := range a.Candidates {
		text(c)
	}
	if a.Members != nil {
		b = append(b, 1)
		for _, w := range a.Members {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(w))
		}
	}
	k := Key{content: string(b)}
	if a.Private != nil {
		k.scale = a.Private.Scale
		if slots := a.Private.Slots(); len(slots) > 0 {
			k.private = a.Private.Pairs[slots[0]]
		}
	}
	return k
}
