package train

import (
	"context"

	"crayon/internal/kernel"
	"crayon/internal/reference"
)

// Plan is a run laid out: what a Backend computes. Its steps are fixed by the
// configuration and the examples alone.
type Plan struct {
	Config Config // defaults filled in
	Tasks  []Task
	Steps  []Step
}

// State is what a run changes from step to step: the parameters and AdamW's
// running means of the gradient and of its square, laid out as Params.Values.
type State struct {
	Params        *Params
	First, Second []float32
}

// Backend computes the steps of one run. Its calls are not concurrent.
type Backend interface {
	// Gradient computes the gradient of the plan's step number t, from 0, and
	// returns its norm. The parameters stay as they are.
	Gradient(ctx context.Context, t int) (Tally, float64, error)
	// Update applies the gradient, whose norm is given, as step number t.
	Update(t int, rate, norm float64) error
	// Save brings s up to date.
	Save(s *State) error
	Close() error
}

// Open makes a Backend for the plan that begins at s, which it may keep and
// change.
type Open func(p *Plan, s *State) (Backend, error)

// cpu is the Backend on this machine's processor: the reference.
type cpu struct {
	plan  *Plan
	state *State
	model *reference.Linears
	crew  *crew
}

// CPU computes on this machine's processor: the reference.
func CPU(w *reference.Weights) Open {
	return func(p *Plan, s *State) (Backend, error) {
		m := w.Fuse(s.Params.Stacked(), s.Params.A, s.Params.B)
		return &cpu{plan: p, state: s, model: m, crew: newCrew(p.Config, s.Params, m)}, nil
	}
}

func (b *cpu) Gradient(ctx context.Context, t int) (Tally, float64, error) {
	sum, err := b.crew.run(ctx, b.plan.Steps[t], b.plan.Tasks)
	if err != nil {
		return sum, 0, err
	}
	return sum, norm(b.plan.Config.Workers, b.crew.total), nil
}

func (b *cpu) Update(t int, rate, norm float64) error {
	update(b.state, b.plan.Config.Workers, t, rate, norm, b.crew.total)
	b.refresh()
	return nil
}

// refresh carries the As over to the fused matrices.
func (b *cpu) refresh() {
	parallel(b.plan.Config.Workers, len(b.model.Layers), func(_, lo, hi int) {
		for l := lo; l < hi; l++ {
			for j := range b.model.Layers[l] {
				b.model.Layers[l][j].Refresh()
			}
		}
	})
}

func (b *cpu) Save(*State) error { return nil } // it works in the state itself

func (b *cpu) Close() error { return nil }

func newState(p *Params) *State {
	return &State{Params: p, First: kernel.Floats(len(p.Values)), Second: kernel.Floats(len(p.Values))}
}
