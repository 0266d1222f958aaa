//go:build linux && (amd64 || arm64)

package cuda

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"crayon/internal/arch"
	"crayon/internal/reference"
	"crayon/internal/train"
)

// Difference is how far a step on one backend is from the same step on the
// processor.
type Difference struct {
	Loss, Norm float64
	Reference  struct{ Loss, Norm float64 }
	Whole      float64 // norm of the gradients' difference, as a share of the gradient's
	Worst      float64 // the same of the slot where it is largest
	Where      string  // that slot
}

func (d Difference) String() string {
	return fmt.Sprintf("loss %.6f (processor %.6f), gradient's norm %.6f (%.6f), difference %.4f of the norm, at most %.4f (%s)",
		d.Loss, d.Reference.Loss, d.Norm, d.Reference.Norm, d.Whole, d.Worst, d.Where)
}

// compare takes one step over all examples on both, with Bs that are not zero.
func compare(ctx context.Context, c train.Config, w *reference.Weights, examples []train.Example, open train.Open) (Difference, error) {
	var d Difference
	step := func(open train.Open) (p train.Progress, s *train.State, err error) {
		c := c
		c.StepTokens, c.Epochs, c.Checkpoint, c.Log, c.Plot = 1<<30, 1, "", "", ""
		c.Progress = func(x train.Progress) { p = x }
		_, err = train.RunOn(ctx, c, w, examples, func(plan *train.Plan, state *train.State) (train.Backend, error) {
			s = state
			rng := rand.New(rand.NewPCG(3, 3))
			for slot := range arch.Slot(w.Config.Slots()) {
				b := s.Params.B(slot)
				for i := range b {
					b[i] = float32(rng.NormFloat64() * 0.5 / math.Sqrt(float64(s.Params.Stacked())))
				}
			}
			return open(plan, state)
		})
		return p, s, err
	}
	right, a, err := step(train.CPU(w))
	if err != nil {
		return d, err
	}
	own, b, err := step(open)
	if err != nil {
		return d, err
	}
	d.Loss, d.Norm = own.Loss, own.GradNorm
	d.Reference.Loss, d.Reference.Norm = right.Loss, right.GradNorm
	// After one step the first moment is the clipped gradient's tenth.
	fa, fb := 1/min(1, train.MaxNorm/right.GradNorm), 1/min(1, train.MaxNorm/own.GradNorm)
	var miss, whole float64
	for slot := range arch.Slot(w.Config.Slots()) {
		pa, pb := a.Params.Cut(a.First), b.Params.Cut(b.First)
		for _, x := range []struct {
			name string
			a, b []float32
		}{{"A", pa.A(slot), pb.A(slot)}, {"B", pa.B(slot), pb.B(slot)}} {
			var m, n float64
			for i := range x.a {
				u, v := float64(x.a[i])*fa, float64(x.b[i])*fb
				m, n = m+(u-v)*(u-v), n+u*u
			}
			miss, whole = miss+m, whole+n
			if share := math.Sqrt(m / n); share > d.Worst || math.IsNaN(share) {
				d.Worst, d.Where = share, slot.Tensor()+" "+x.name
			}
		}
	}
	d.Whole = math.Sqrt(miss / whole)
	return d, nil
}
