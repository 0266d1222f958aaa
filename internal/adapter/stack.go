package adapter

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"crayon/internal/arch"
	"crayon/internal/fault"
)

// Stack is several adapters as one: for each slot the rows of the A's one
// below the other and the columns of the B's side by side, each adapter's
// Scale in its columns of B. A weight for each stacked row then gives any
// weighted sum of the adapters: sum_k w_k s_k B_k A_k = B diag(w) A.
// Every slot has the same rank and owners; an adapter of lower rank in a slot,
// or absent from it, has zeros there.
type Stack struct {
	Adapters int                 // how many are stacked
	Rank     int                 // rows of every A
	Pairs    map[arch.Slot]*Pair // those in memory; nil for a stack of Stored
	Owner    []int               // stacked row -> adapter index

	slots []arch.Slot
	read  func(arch.Slot) *Pair
}

// Stored is a stack whose pairs are made by read, from a compact form, each time
// they are asked for. slots are ascending, read must not fail, and rank is that
// of every pair.
func Stored(adapters, rank int, owner []int, slots []arch.Slot, read func(arch.Slot) *Pair) *Stack {
	return &Stack{Adapters: adapters, Rank: rank, Owner: owner, slots: slots, read: read}
}

// Slots are the slots the stack changes, ascending.
func (s *Stack) Slots() []arch.Slot {
	if s.read != nil {
		return s.slots
	}
	return slices.Sorted(maps.Keys(s.Pairs))
}

// Pair is the slot's pair, to be read only; nil if the stack does not change
// the slot. That of a Stored stack is made anew by each call.
func (s *Stack) Pair(slot arch.Slot) *Pair {
	if s.read == nil {
		return s.Pairs[slot]
	}
	if _, ok := slices.BinarySearch(s.slots, slot); !ok {
		return nil
	}
	return s.read(slot)
}

// All are the slots with their pairs, ascending, one pair in memory at a time.
func (s *Stack) All() iter.Seq2[arch.Slot, *Pair] {
	return func(yield func(arch.Slot, *Pair) bool) {
		for _, slot := range s.Slots() {
			if !yield(slot, s.Pair(slot)) {
				return
			}
		}
	}
}

// InMemory is the stack with its pairs in memory: s itself if they are.
func (s *Stack) InMemory() *Stack {
	if s.read == nil {
		return s
	}
	return &Stack{Adapters: s.Adapters, Rank: s.Rank, Owner: s.Owner, Pairs: maps.Collect(s.All())}
}

// NewStack stacks adapters in the order given.
func NewStack(adapters []*Adapter) (*Stack, error) {
	s, err := newStack(adapters)
	if err != nil {
		return nil, &fault.Error{Op: "stack adapters", Err: err}
	}
	return s, nil
}

func newStack(adapters []*Adapter) (*Stack, error) {
	if len(adapters) == 0 {
		return nil, errors.New("there are none")
	}
	s := &Stack{Adapters: len(adapters), Pairs: make(map[arch.Slot]*Pair)}
	for k, a := range adapters {
		for range a.Rank() {
			s.Owner = append(s.Owner, k)
		}
	}
	s.Rank = len(s.Owner)
	first := 0 // the adapter's first stacked row
	for _, a := range adapters {
		for _, slot := range a.Slots() {
			p := a.Pairs[slot]
			if err := p.check(); err != nil {
				return nil, fmt.Errorf("%s, %s: %w", a.Name, slotName(slot), err)
			}
			all := s.Pairs[slot]
			if all == nil {
				all = &Pair{Rank: s.Rank, In: p.In, Out: p.Out, A: make([]float32, s.Rank*p.In), B: make([]float32, p.Out*s.Rank)}
				s.Pairs[slot] = all
			}
			if all.In != p.In || all.Out != p.Out {
				return nil, fmt.Errorf("%s, %s is for a layer of %d x %d, the others' is %d x %d", a.Name, slotName(slot), p.Out, p.In, all.Out, all.In)
			}
			copy(all.A[first*p.In:], p.A)
			for o := range p.Out {
				row := all.B[o*s.Rank+first:]
				for r, v := range p.B[o*p.Rank : (o+1)*p.Rank] {
					row[r] = a.Scale * v
				}
			}
		}
		first += a.Rank()
	}
	return s, nil
}

// With is the stack with one more adapter behind the others. Its matrices are
// copies.
func (s *Stack) With(a *Adapter) (*Stack, error) {
	one, err := newStack([]*Adapter{a})
	if err != nil {
		return nil, &fault.Error{Op: "stack adapters", Err: err}
	}
	all := &Stack{Adapters: s.Adapters + 1, Rank: s.Rank + one.Rank, Pairs: make(map[arch.Slot]*Pair), Owner: append([]int(nil), s.Owner...)}
	for range one.Rank {
		all.Owner = append(all.Owner, s.Adapters)
	}
	for i, part := range []*Stack{s, one} {
		first := i * s.Rank
		for slot, p := range part.All() {
			q := all.Pairs[slot]
			if q == nil {
				q = &Pair{Rank: all.Rank, In: p.In, Out: p.Out, A: make([]float32, all.Rank*p.In), B: make([]float32, p.Out*all.Rank)}
				all.Pairs[slot] = q
			}
			if q.In != p.In || q.Out != p.Out {
				return nil, &fault.Error{Op: "stack adapters", Path: a.Name, Err: fmt.Errorf("%s differs in size from the others'", slotName(slot))}
			}
			copy(q.A[first*p.In:], p.A)
			for o := range p.Out {
				copy(q.B[o*q.Rank+first:], p.B[o*p.Rank:(o+1)*p.Rank])
			}
		}
	}
	return all, nil
}

// RowWeights spreads one weight an adapter to one weight a stacked row. w has
// Adapters values.
func (s *Stack) RowWeights(w []float32) []float32 {
	rows := make([]float32, s.Rank)
	for r, k := range s.Owner {
		rows[r] = w[k]
	}
	return rows
}

// Keep is the stack without the adapters of weight 0, and the weights of those
// kept, in the same order. Its matrices are copies.
func (s *Stack) Keep(w []float32) (*Stack, []float32) {
	kept := &Stack{Pairs: make(map[arch.Slot]*Pair)}
	index := make([]int, s.Adapters)
	var weights []float32
	for k := range index {
		index[k] = len(weights)
		if w[k] != 0 {
			weights = append(weights, w[k])
		}
	}
	var rows []int // stacked rows kept
	for r, k := range s.Owner {
		if w[k] != 0 {
			rows = append(rows, r)
			kept.Owner = append(kept.Owner, index[k])
		}
	}
	kept.Adapters, kept.Rank = len(weights), len(rows)
	for slot, p := range s.All() {
		q := &Pair{Rank: kept.Rank, In: p.In, Out: p.Out, A: make([]float32, kept.Rank*p.In), B: make([]float32, p.Out*kept.Rank)}
		for i, r := range rows {
			copy(q.A[i*p.In:(i+1)*p.In], p.A[r*p.In:])
		}
		for o := range p.Out {
			from, to := p.B[o*p.Rank:(o+1)*p.Rank], q.B[o*q.Rank:]
			for i, r := range rows {
				to[i] = from[r]
			}
		}
		kept.Pairs[slot] = q
	}
	return kept, weights
}

// Merge is the weighted sum of the adapters as one adapter of the stack's rank
// and Scale 1: the weights go into B, nothing is lost.
func (s *Stack) Merge(w []float32, name string) *Adapter {
	rows := s.RowWeights(w)
	a := &Adapter{Name: name, Scale: 1, Pairs: make(map[arch.Slot]*Pair)}
	for slot, p := range s.All() {
		q := &Pair{Rank: p.Rank, In: p.In, Out: p.Out, A: append([]float32(nil), p.A...), B: make([]float32, len(p.B))}
		for o := range p.Out {
			from, to := p.B[o*p.Rank:(o+1)*p.Rank], q.B[o*p.Rank:]
			for r, v := range from {
				to[r] = rows[r] * v
			}
		}
		a.Pairs[slot] = q
	}
	return a
}

// Dense is the whole change of one slot's weight, sum_k w_k s_k B_k A_k, Out x
// In row-major, summed in float64; nil if no adapter changes the slot.
func (s *Stack) Dense(slot arch.Slot, w []float32) []float32 {
	p := s.Pair(slot)
	if p == nil {
		return nil
	}
	return p.dense(s.RowWeights(w))
}

// Dense is the whole change of one slot's weight, Out x In row-major, summed
// in float64; nil if the adapter does not change the slot.
func (a *Adapter) Dense(slot arch.Slot) []float32 {
	p := a.Pairs[slot]
	if p == nil {
		return nil
	}
	weights := make([]float32, p.Rank)
	for r := range weights {
		weights[r] = a.Scale
	}
	return p.dense(weights)
}

// dense is B diag(weights) A.
func (p *Pair) dense(weights []float32) []float32 {
	out, sum := make([]float32, p.Out*p.In), make([]float64, p.In)
	for o := range p.Out {
		clear(sum)
		for r, w := range weights {
			f := float64(w) * float64(p.B[o*p.Rank+r])
			if f == 0 {
				continue
			}
			for i, v := range p.A[r*p.In : (r+1)*p.In] {
				sum[i] += f * float64(v)
			}
		}
		for i, v := range sum {
			out[o*p.In+i] = float32(v)
		}
	}
	return out
}

// Residual is how far the products of stored are from those of exact: the
// Frobenius norm of the difference over all slots, relative to that of exact.
// 0 if both change nothing, +Inf if only stored does or a layer's size differs.
func Residual(exact, stored *Adapter) float64 {
	slots := make(map[arch.Slot]bool)
	for slot := range exact.Pairs {
		slots[slot] = true
	}
	for slot := range stored.Pairs {
		slots[slot] = true
	}
	var miss, whole float64
	for slot := range slots {
		if p, q := exact.Pairs[slot], stored.Pairs[slot]; p != nil && q != nil && (p.In != q.In || p.Out != q.Out) {
			return math.Inf(1)
		}
		e, s := columns(exact, slot), columns(stored, slot)
		whole += squaredNorm(e)
		miss += squaredNorm(difference(e, s))
	}
	if miss == 0 {
		return 0
	}
	return math.Sqrt(miss / whole)
}

// term is one outer product b a' of a low-rank sum, b of Out and a of In values.
type term struct{ b, a []float64 }

// columns takes an adapter's change of a slot apart into its outer products.
func columns(a *Adapter, slot arch.Slot) []term {
	p := a.Pairs[slot]
	if p == nil {
		return nil
	}
	terms := make([]term, p.Rank)
	for r := range terms {
		t := term{b: make([]float64, p.Out), a: make([]float64, p.In)}
		for o := range t.b {
			t.b[o] = float64(a.Scale) * float64(p.B[o*p.Rank+r])
		}
		for i := range t.a {
			t.a[i] = float64(p.A[r*p.In+i])
		}
		terms[r] = t
	}
	return terms
}

// difference is e - s as outer products. Of equal rank it is taken as
// (b_e - b_s) a_e + b_s (a_e - a_s), which keeps small differences small
// instead of cancelling two large sums.
func difference(e, s []term) []term {
	var out []term
	if len(e) == len(s) {
		for r := range e {
			out = append(out, term{minus(e[r].b, s[r].b), e[r].a}, term{s[r].b, minus(e[r].a, s[r].a)})
		}
		return out
	}
	out = append(out, e...)
	for _, t := range s {
		out = append(out, term{minus(make([]float64, len(t.b)), t.b), t.a})
	}
	return out
}

func minus(x, y []float64) []float64 {
	out := make([]float64, len(x))
	for i := range x {
		out[i] = x[i] - y[i]
	}
	return out
}

// squaredNorm is |sum_r b_r a_r'|^2 = sum_rs (b_r.b_s)(a_r.a_s).
func squaredNorm(terms []term) float64 {
	sum := 0.0
	for r, t := range terms {
		sum += dot(t.b, t.b) * dot(t.a, t.a)
		for _, u := range terms[:r] {
			sum += 2 * dot(t.b, u.b) * dot(t.a, u.a)
		}
	}
	return max(sum, 0)
}

func dot(x, y []float64) float64 {
	sum := 0.0
	for i, v := range x {
		sum += v * y[i]
	}
	return sum
}
