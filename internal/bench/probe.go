package bench

import (
	"context"
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/optimize"

	"crayon/internal/pool"
	"crayon/internal/strategy"
)

// ridge is the weight of half the squared length of the probe's parameters
// beside the examples' summed loss; 1 is what scikit-learn takes.
const ridge = 1

// probed learns multinomial logistic regression from the question's direction
// to the label. Its best parameters lie in the span of the examples, so it has
// one an example and label; similarities are all it needs to know.
func probed(_ context.Context, r *runner, b *bout) (result, error) {
	start := time.Now()
	picks := slices.Repeat([]int{guess}, len(b.rows))
	var golds []int
	var known []*strategy.Row
	for i := range b.task.Rows {
		r := &b.task.Rows[i]
		if g := slices.Index(b.task.Labels, gold(r)); g >= 0 {
			golds, known = append(golds, g), append(known, r)
		}
	}
	if len(known) == 0 {
		return result{picks: picks}, nil
	}
	dual, err := fitProbe(known, golds, len(b.task.Labels))
	if err != nil {
		return result{}, err
	}
	fit := cost{seconds: r.memo.since(start)}
	for i := range b.rows {
		near := similarities(&b.rows[i], known)
		best := math.Inf(-1)
		for l, label := range b.task.Labels {
			x := 0.0
			for j, s := range near {
				x += s * dual[j*len(b.task.Labels)+l]
			}
			if at := slices.Index(b.rows[i].Candidates, label); at >= 0 && x > best {
				picks[i], best = at, x
			}
		}
	}
	return result{picks: picks, fit: &fit}, nil
}

// similarities are the cosines with the examples, and 1 for the intercept.
func similarities(q *strategy.Row, known []*strategy.Row) []float64 {
	out := make([]float64, len(known))
	for j, r := range known {
		out[j] = 1 + float64(pool.Cosine(q.Direction, r.Direction))
	}
	return out
}

// fitProbe returns the parameters, example x label.
func fitProbe(known []*strategy.Row, golds []int, labels int) ([]float64, error) {
	gram := make([][]float64, len(known))
	for i, r := range known {
		gram[i] = similarities(r, known)
	}
	// With f = gram * dual: the summed loss of softmax(f) and ridge / 2 * dual . f.
	evaluate := func(grad, dual []float64) float64 {
		f := make([]float64, len(dual))
		for i := range gram {
			for j, g := range gram[i] {
				for l := range labels {
					f[i*labels+l] += g * dual[j*labels+l]
				}
			}
		}
		loss := 0.0
		slope := make([]float64, len(dual)) // of the loss for f
		for i, g := range golds {
			p := strategy.Softmax(f[i*labels : (i+1)*labels])
			loss -= math.Log(max(p[g], 1e-300))
			copy(slope[i*labels:], p)
			slope[i*labels+g]--
		}
		for i := range dual {
			loss += ridge / 2.0 * dual[i] * f[i]
			slope[i] += ridge * dual[i]
		}
		if grad != nil {
			clear(grad)
			for i := range gram {
				for j, g := range gram[i] {
					for l := range labels {
						grad[i*labels+l] += g * slope[j*labels+l]
					}
				}
			}
		}
		return loss
	}
	problem := optimize.Problem{
		Func: func(x []float64) float64 { return evaluate(nil, x) },
		Grad: func(grad, x []float64) { evaluate(grad, x) },
	}
	res, err := optimize.Minimize(problem, make([]float64, len(known)*labels),
		&optimize.Settings{MajorIterations: 200, GradientThreshold: 1e-6}, &optimize.LBFGS{})
	if res == nil {
		return nil, err
	}
	return res.X, nil // a line search that cannot do better ends at the best there is
}
