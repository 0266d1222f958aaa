package train

import (
	"fmt"
	"math"
	"math/rand/v2"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/kernel"
)

// Params are the trained values: for every slot, the As of the shared adapter
// and of the blended ones stacked by rows, and their Bs by columns.
type Params struct {
	Arch       arch.Config
	Adapters   int       // blended
	Rank       int       // of each
	SharedRank int       // 0: no shared adapter
	Scale      float32   // on every B A
	Values     []float32 // by layer: the As of its seven linears, then their Bs
}

// NewParams draws A ~ N(0, 1/in) from the seed and leaves B at zero, so that
// training starts at the bare model.
func NewParams(a arch.Config, c Config) *Params {
	p := &Params{Arch: a, Adapters: c.Adapters, Rank: c.Rank, SharedRank: c.SharedRank, Scale: c.Scale}
	p.Values = kernel.Floats(a.RankParams() * p.Stacked())
	for slot := range arch.Slot(a.Slots()) {
		_, in := a.Shape(slot.Kind())
		rng := rand.New(rand.NewPCG(c.Seed, uint64(slot)))
		deviation := 1 / math.Sqrt(float64(in))
		v := p.A(slot)
		for i := range v {
			v[i] = float32(rng.NormFloat64() * deviation)
		}
	}
	return p
}

// Stacked is the rank of all adapters together.
func (p *Params) Stacked() int { return p.SharedRank + p.Adapters*p.Rank }

// Cut is other values of the same layout, such as a gradient.
func (p *Params) Cut(values []float32) *Params {
	q := *p
	q.Values = values
	return &q
}

// A is the slot's stacked A: Stacked x in.
func (p *Params) A(s arch.Slot) []float32 {
	_, in := p.Arch.Shape(s.Kind())
	at := p.offsetA(s)
	return p.Values[at : at+in*p.Stacked()]
}

// B is the slot's stacked B: out x Stacked.
func (p *Params) B(s arch.Slot) []float32 {
	out, _ := p.Arch.Shape(s.Kind())
	at := p.offsetB(s)
	return p.Values[at : at+out*p.Stacked()]
}

// offsetA is where the slot's A begins in Values. The As of kinds that follow
// one another lie one after another.
func (p *Params) offsetA(s arch.Slot) int {
	at := p.layer(s)
	for k := arch.Q; k < s.Kind(); k++ {
		_, in := p.Arch.Shape(k)
		at += in * p.Stacked()
	}
	return at
}

func (p *Params) offsetB(s arch.Slot) int {
	at := p.offsetA(arch.SlotOf(s.Layer(), arch.Down))
	_, in := p.Arch.Shape(arch.Down)
	at += in * p.Stacked()
	for k := arch.Q; k < s.Kind(); k++ {
		out, _ := p.Arch.Shape(k)
		at += out * p.Stacked()
	}
	return at
}

// layer is where the values of the slot's layer begin.
func (p *Params) layer(s arch.Slot) int {
	return s.Layer() * (p.Arch.RankParams() / p.Arch.Layers) * p.Stacked()
}

// Row is the stacked row weights of an example: Scale times 1 for the shared
// adapter's rows and times its own weight for each other's.
func (p *Params) Row(weights []float32) []float32 {
	row := make([]float32, 0, p.Stacked())
	for range p.SharedRank {
		row = append(row, p.Scale)
	}
	for _, w := range weights {
		for range p.Rank {
			row = append(row, p.Scale*w)
		}
	}
	return row
}

// List takes the stack apart: the shared adapter first, if there is one, then
// the blended ones. names name them in that order; a missing name is made up.
func (p *Params) List(names []string) []*adapter.Adapter {
	var list []*adapter.Adapter
	add := func(fallback string, first, rank int) {
		if len(list) < len(names) {
			fallback = names[len(list)]
		}
		list = append(list, p.cut(fallback, first, rank))
	}
	if p.SharedRank > 0 {
		add("shared", 0, p.SharedRank)
	}
	for k := range p.Adapters {
		add(fmt.Sprintf("adapter-%d", k+1), p.SharedRank+k*p.Rank, p.Rank)
	}
	return list
}

func (p *Params) cut(name string, first, rank int) *adapter.Adapter {
	a := &adapter.Adapter{Name: name, Scale: p.Scale, Pairs: make(map[arch.Slot]*adapter.Pair)}
	for s := range arch.Slot(p.Arch.Slots()) {
		out, in := p.Arch.Shape(s.Kind())
		pair := &adapter.Pair{Rank: rank, In: in, Out: out, A: make([]float32, rank*in), B: make([]float32, 0, out*rank)}
		copy(pair.A, p.A(s)[first*in:])
		b := p.B(s)
		for o := range out {
			at := o*p.Stacked() + first
			pair.B = append(pair.B, b[at:at+rank]...)
		}
		a.Pairs[s] = pair
	}
	return a
}
