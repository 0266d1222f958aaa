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
	a, b *kernel.Matrix // as many rows as do something x in, out x Rank; nil where no adapter sits
}

// lead is the multiple of stacked rows at which a further stack begins.
const lead = 32

// Padded is how many rows a stack of a rank takes in a Side: the next stack
// begins there.
func Padded(rank int) int { return (rank + lead - 1) / lead * lead }

// NewSide packs a stack to 8 bits a block of 32, as Q8_0 does. Further stacks
// begin at the next multiple of 32 rows: those before them have the blocks, and
// so the bits, that they would have alone. A row ends where one of the stacks ends;
// those after it do nothing for it. Of a stack that is Stored no more than a
// slot is in memory at a time.
func (m *Model) NewSide(s *adapter.Stack, further ...*adapter.Stack) (*Side, error) {
	c := m.Config
	side := &Side{slots: make([]lowRank, c.Slots())}
	all := append([]*adapter.Stack{s}, further...)
	var first []int // of each stack: its first stacked row
	for _, s := range all {
		for _, slot := range s.Slots() {
			if int(slot) < 0 || int(slot) >= c.Slots() {
				return nil, &fault.Error{Op: "use adapter", Path: slot.Tensor(), Err: fmt.Errorf("the model has no such layer"), Exit: fault.ExitVerify}
			}
		}
		first = append(first, side.Rank)
		side.ends = append(side.ends, side.Rank+s.Rank)
		side.Rank += Padded(s.Rank)
	}
	arena := new(kernel.Arena)
	for slot := range arch.Slot(c.Slots()) {
		out, in := c.Shape(slot.Kind())
		pairs, touched := make([]*adapter.Pair, len(all)), false
		for i, s := range all {
			p := s.Pair(slot)
			if p != nil && (p.Out != out || p.In != in || p.Rank != s.Rank) {
				return nil, &fault.Error{Op: "use adapter", Path: slot.Tensor(), Err: fmt.Errorf("adapter is %dx%d rank %d, the model's layer is %dx%d", p.Out, p.In, p.Rank, out, in), Exit: fault.ExitVerify}
			}
			pairs[i], touched = p, touched || p != nil
		}
		if touched {
			side.slots[slot] = m.packSlot(arena, side, pairs, first, out, in)
		}
	}
	arena.Trim()
	return side, nil
}

// packSlot packs the pairs of one slot, which begin at the stacked rows first.
func (m *Model) packSlot(arena *kernel.Arena, side *Side, pairs []*adapter.Pair, first []int, out, in int) lowRank {
	// at is the pair that a stacked row is of, if there is one, and its row there.
	at := func(r int) (*adapter.Pair, int) {
		i := len(first) - 1
		for first[i] > r {
			i--
		}
		if p := pairs[i]; p != nil && r-first[i] < p.Rank {
			return p, r - first[i]
		}
		return nil, 0
	}
	// The last block of B has columns of zeros where the ranks end within it, the
	// rows of A end with them.
	rows := (side.ends[len(side.ends)-1] + 15) / 16 * 16
	return lowRank{
		a: m.packSide(arena, rows, in, func(r, block int, v *[lead]float32) {
			if p, r := at(r); p != nil {
				copy(v[:], p.A[r*p.In+lead*block:(r+1)*p.In])
			}
		}),
		b: m.packSide(arena, out, side.Rank, func(r, block int, v *[lead]float32) {
			if p, c := at(lead * block); p != nil { // a block is of one stack
				copy(v[:], p.B[r*p.Rank+c:(r+1)*p.Rank])
			}
		}),
	}
}

// packSide packs a matrix of which fill gives a row's block of columns.
func (m *Model) packSide(arena *kernel.Arena, rows, cols int, fill func(r, block int, v *[lead]float32)) *kernel.Matrix {
	return arena.Pack8(m.team, rows, cols, func(r, i int, b *kernel.Block) {
		var v [lead]float32
		fill(r, i, &v)
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
