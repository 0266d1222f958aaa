package strategy

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/optimize"

	"crayon/internal/fault"
)

var lorahub = Strategy{
	Name: "lorahub", About: "weights by gradient-free search, as LoraHub (Huang et al. 2023): a baseline",
	Cost: Seconds, Nominal: 35,
	Fit: fitLorahub,
}

// LoraHub's settings (Huang et al. 2023, arXiv:2307.13269): weights from 0,
// within ±1.5, 40 steps, the answers' cross-entropy plus an L1 norm.
const (
	lorahubSteps = 40
	lorahubBound = 1.5
	lorahubL1    = 0.05
	lorahubSpan  = 0.5 // first standard deviation of the search: a sixth of the range
)

// fitLorahub searches the weights of all members, the shared ones too, by
// CMA-ES from a fixed seed.
func fitLorahub(ctx context.Context, e Engine, t Task) (*Plan, error) {
	var rows []Row
	for _, i := range t.labelled() {
		if len(rows) == mostLearned {
			break
		}
		r := t.Rows[i]
		r.Candidates, r.Gold = []string{r.Candidates[r.Gold]}, 0
		rows = append(rows, r)
	}
	n := len(e.Pool().Members)
	if len(rows) == 0 || n == 0 {
		return fitted("lorahub", Plan{Members: Blend(e.Pool(), t), Why: "no labelled examples: the blend"})
	}
	var best []float32
	var failed error
	least, steps := math.Inf(1), 0
	loss := func(x []float64) float64 {
		if steps == lorahubSteps || failed != nil {
			return math.Inf(1)
		}
		steps++
		plan := Plan{Members: make([]float32, n)}
		var norm float64
		for k, v := range x {
			v = max(-lorahubBound, min(lorahubBound, v))
			plan.Members[k] = float32(v)
			norm += math.Abs(v)
		}
		asks := make([]Ask, len(rows))
		for i, r := range rows {
			asks[i] = plan.Ask(e.Pool(), t, r)
		}
		scores, err := e.Score(ctx, asks)
		if err != nil {
			failed = err
			return math.Inf(1)
		}
		var sum float64
		tokens := 0
		for _, s := range scores {
			sum -= s[0].Sum
			tokens += s[0].Tokens
		}
		l := sum/float64(max(1, tokens)) + lorahubL1*norm
		if l < least {
			least, best = l, plan.Members
		}
		return l
	}
	start := make([]float64, n)
	loss(start)
	_, err := optimize.Minimize(
		optimize.Problem{Func: loss, Status: func() (optimize.Status, error) {
			if failed != nil {
				return optimize.Failure, failed
			}
			return optimize.NotTerminated, nil
		}},
		start, &optimize.Settings{FuncEvaluations: lorahubSteps},
		&optimize.CmaEsChol{InitStepSize: lorahubSpan, Src: rand.NewPCG(1, 0)})
	switch {
	case failed != nil:
		return nil, failed
	case best == nil:
		return nil, &fault.Error{Op: "fit lorahub", Err: fmt.Errorf("no weights have a finite loss: %w", err)}
	}
	return fitted("lorahub", Plan{Members: best, Why: fmt.Sprintf("loss %.3f after %d tries", least, steps)})
}
