// Package adapter holds low-rank adapters (LoRA, arXiv:2106.09685), one or many
// stacked, and reads and writes them as PEFT folders and as GGUF files.
package adapter

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"crayon/internal/arch"
	"crayon/internal/fault"
)

// Pair is the low-rank change of one linear layer: its weight W (Out x In)
// gains scale * B A. For the llama family the rows of B on q and k are in GGUF
// order, where rotary pairs are neighbours.
type Pair struct {
	Rank, In, Out int
	A             []float32 // Rank x In, row-major
	B             []float32 // Out x Rank, row-major
}

// Adapter is one trained low-rank change of a model.
type Adapter struct {
	Name   string
	Scale  float32 // on every pair; 1 after an import, which folds its scales into B
	Pairs  map[arch.Slot]*Pair
	Source string // the file or folder it came from; may be empty
	Base   string // the base model it states; may be empty
}

// Slots are the slots the adapter changes, ascending.
func (a *Adapter) Slots() []arch.Slot { return slices.Sorted(maps.Keys(a.Pairs)) }

// Rank is the largest rank of its pairs.
func (a *Adapter) Rank() int {
	rank := 0
	for _, p := range a.Pairs {
		rank = max(rank, p.Rank)
	}
	return rank
}

// check says what is wrong with the pair's own sizes.
func (p *Pair) check() error {
	switch {
	case p.Rank < 1 || p.In < 1 || p.Out < 1:
		return fmt.Errorf("rank %d, in %d, out %d: all must be at least 1", p.Rank, p.In, p.Out)
	case len(p.A) != p.Rank*p.In:
		return fmt.Errorf("matrix A has %d values, not %d x %d", len(p.A), p.Rank, p.In)
	case len(p.B) != p.Out*p.Rank:
		return fmt.Errorf("matrix B has %d values, not %d x %d", len(p.B), p.Out, p.Rank)
	}
	return nil
}

// Validate checks that the adapter fits a model of shape c and does something:
// every pair on a layer of the model, of its size, finite, and neither A nor B
// all zero (an untrained adapter, or one read wrongly). It names every fault.
func Validate(a *Adapter, c arch.Config) error {
	var faults []error
	if len(a.Pairs) == 0 {
		faults = append(faults, errors.New("it changes no layer"))
	}
	if s := float64(a.Scale); s == 0 || math.IsNaN(s) || math.IsInf(s, 0) {
		faults = append(faults, fmt.Errorf("its scale is %v", a.Scale))
	}
	for _, slot := range a.Slots() {
		for _, err := range a.Pairs[slot].faults(slot, c) {
			faults = append(faults, fmt.Errorf("%s: %w", slotName(slot), err))
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return &fault.Error{Op: "check adapter", Path: a.Name, Err: errors.Join(faults...)}
}

func slotName(s arch.Slot) string {
	if s < 0 {
		return fmt.Sprintf("slot %d", int(s))
	}
	return s.Tensor()
}

func (p *Pair) faults(slot arch.Slot, c arch.Config) []error {
	if slot < 0 || int(slot) >= c.Slots() {
		return []error{fmt.Errorf("the model has %d layers", c.Layers)}
	}
	if p == nil {
		return []error{errors.New("it has no weights")}
	}
	if err := p.check(); err != nil {
		return []error{err}
	}
	var faults []error
	if out, in := c.Shape(slot.Kind()); p.Out != out || p.In != in {
		faults = append(faults, fmt.Errorf("it is for a layer of %d x %d, the model's is %d x %d", p.Out, p.In, out, in))
	}
	for _, m := range []struct {
		name   string
		values []float32
	}{{"A", p.A}, {"B", p.B}} {
		switch i, zero := survey(m.values); {
		case i >= 0:
			faults = append(faults, fmt.Errorf("%s holds %v at %d", m.name, m.values[i], i))
		case zero:
			faults = append(faults, fmt.Errorf("%s is all zero: the adapter does nothing here", m.name))
		}
	}
	return faults
}

// survey finds the first value that is not finite (-1 if none), and whether
// all values are zero.
func survey(values []float32) (bad int, zero bool) {
	zero = true
	for i, v := range values {
		if v-v != 0 { // NaN or infinite
			return i, false
		}
		if v != 0 {
			zero = false
		}
	}
	return -1, zero
}
