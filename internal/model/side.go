package model

import (
	"fmt"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/kernel"
)

// Side is a stack of adapters packed for the kernels: y = W x + B (row * (A x)),
// where row has one weight for each stacked row. All customisations of one pool
// share a Side; only their rows differ, so they can run in one batch.
type Side struct {
	Rank  int   // rows of the stack, padded to a multiple of 32
	ends  []int // rows up to the end of each stack: the lengths that a row may have
	slots []lowRank
}

type lowRank struct {
	a, b *kernel.Matrix // Rank x in, out x Rank; nil where no adapter sits
}

// lead is the multiple of stacked rows at which a further stack begins.
const lead = 32

// Padded is how many rows a stack of a rank takes in a Side: the next stack
// begins there.
func Padded(rank int) int { return (rank + lead - 1) / lead * lead }

// NewSide packs a stack to 8 bits a block of 32, as Q8_0 does. Further stacks
// begin at the next multiple of 32 rows: those before them have the blocks, and
// so the bits, that they would have alone. A row ends where one of the stacks ends;
// those after it do nothing for it.
func (m *Model) NewSide(s *adapter.Stack, further ...*adapter.Stack) (*Side, error) {
	c := m.Config
	side := &Side{slots: make([]lowRank, c.Slots())}
	all := append([]*adapter.Stack{s}, further...)
	for _, s := range all {
		side.ends = append(side.ends, side.Rank+s.Rank)
		side.Rank += Padded(s.Rank)
		for slot, p := range s.Pairs {
			if int(slot) < 0 || int(slot) >= c.Slots() {
				return nil, &fault.Error{Op: "use adapter", Path: slot.Tensor(), Err: fmt.Errorf("the model has no such layer"), Exit: fault.ExitVerify}
			}
			out, in := c.Shape(slot.Kind())
			if p.Out != out || p.In != in || p.Rank != s.Rank {
				return nil, &fault.Error{Op: "use adapter", Path: slot.Tensor(), Err: fmt.Errorf("adapter is %dx%d rank %d, the model's layer is %dx%d", p.Out, p.In, p.Rank, out, in), Exit: fault.ExitVerify}
			}
		}
	}
	arena := new(kernel.Arena)
	from := make([]*adapter.Pair, side.Rank/lead) // by block of stacked rows
	for slot := range arch.Slot(c.Slots()) {
		clear(from)
		first, touched := make([]int, len(from)), false
		at := 0
		for _, s := range all {
			n := Padded(s.Rank)
			for b := at / lead; b < (at+n)/lead; b++ {
				from[b], first[b] = s.Pairs[slot], at
			}
			touched = touched || s.Pairs[slot] != nil
			at += n
		}
		if !touched {
			continue
		}
		// pair is the pair that a stacked row is of, and its row there.
		pair := func(r int) (*adapter.Pair, int) {
			p := from[r/lead]
			if r -= first[r/lead]; p == nil || r >= p.Rank {
				return nil, 0
			}
			return p, r
		}
		out, in := c.Shape(slot.Kind())
		a := func(r, i int) float32 {
			p, r := pair(r)
			if p == nil {
				return 0
			}
			return p.A[r*p.In+i]
		}
		b := func(r, i int) float32 {
			p, i := pair(i)
			if p == nil {
				return 0
			}
			return p.B[r*p.Rank+i]
		}
		side.slots[slot] = lowRank{a: m.packSide(arena, side.Rank, in, a), b: m.packSide(arena, out, side.Rank, b)}
	}
	arena.Trim()
	return side, nil
}

func (m *Model) packSide(arena *kernel.Arena, rows, cols int, at func(r, i int) float32) *kernel.Matrix {
	return arena.Pack8(m.team, rows, cols, func(r, i int, b *kernel.Block) {
		var v [32]float32
		for j := range v {
			v[j] = at(r, i*32+j)
		}
		quantiseBlock(b, v)
	})
}

// Bytes is the packed size in memory.
func (s *Side) Bytes() int {
	n := 0
	for _, p := range s.slots {
		if p.a != nil {
			n += p.a.Bytes() + p.b.Bytes()
		}
	}
	return n
}

// at is the slot's pair, or nil for a nil Side or an untouched slot.
func (s *Side) at(slot arch.Slot) *lowRank {
	if s == nil || s.slots[slot].a == nil {
		return nil
	}
	return &s.slots[slot]
}
