package strategy

import (
	"context"
	"fmt"
	"math"
	"slices"
)

var refine = Strategy{
	Name: "refine", About: "the blend's weights moved by the labels: Newton's method on the ranking loss, scores taken as linear in the weights",
	Cost: Seconds, Nominal: 9,
	Fit: fitRefine,
}

const (
	// mostLearned is how many labelled rows are learned from: the time grows
	// with them, and the few parameters are settled by fewer.
	mostLearned = 32
	// rivals is how many wrong candidates a row is learned with, those that the
	// blend likes best: as in training.
	rivals = 4
	// secant is how far a weight is moved to see what it does to the scores:
	// far above what quantised arithmetic leaves to chance, small against the
	// weights' range.
	secant = 0.5
)

// refineSigmas are the normal priors of a weight's change, of which
// leave-one-out on the linear scores takes the best; 0 is the blend itself.
var refineSigmas = []float64{0, 0.05, 0.1, 0.2, 0.4, 0.8}

// learned are the labelled rows to learn from, spread evenly over the task's,
// with the few candidates of each that count: the answer first, then the wrong
// ones that the weights like best.
func learned(ctx context.Context, e Engine, t Task, members []float32) ([]Row, [][]Score, error) {
	var rows []int
	for _, i := range t.labelled() {
		if len(t.Rows[i].Candidates) > 1 {
			rows = append(rows, i)
		}
	}
	if n := len(rows); n > mostLearned {
		for i := range mostLearned {
			rows[i] = rows[i*n/mostLearned]
		}
		rows = rows[:mostLearned]
	}
	plan := Plan{Members: members}
	asks := make([]Ask, len(rows))
	for i, k := range rows {
		asks[i] = plan.Ask(e.Pool(), t, t.Rows[k])
	}
	scores, err := e.Score(ctx, asks)
	if err != nil || len(rows) == 0 {
		return nil, nil, err
	}
	out, kept := make([]Row, len(rows)), make([][]Score, len(rows))
	for i, k := range rows {
		r := t.Rows[k]
		gold := r.Gold
		order := hardest(scores[i], gold)
		order = append([]int{gold}, order[:min(rivals, len(order))]...)
		r.Candidates, r.Gold = nil, 0
		for _, j := range order {
			r.Candidates = append(r.Candidates, t.Rows[k].Candidates[j])
			kept[i] = append(kept[i], scores[i][j])
		}
		out[i] = r
	}
	return out, kept, nil
}

// hardest are the candidates but for one, the best scored first.
func hardest(scores []Score, but int) []int {
	var order []int
	for j := range scores {
		if j != but {
			order = append(order, j)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch x, y := scores[a].Mean(), scores[b].Mean(); {
		case x > y:
			return -1
		case x < y:
			return 1
		}
		return a - b
	})
	return order
}

// fitRefine sees by secants what each weight does to the scores, and moves all
// of them to where the ranking loss with a normal prior around the blend is
// least. It asks for nothing at weights that depend on the labels, so that the
// folds of a proof share all passes.
func fitRefine(ctx context.Context, e Engine, t Task) (*Plan, error) {
	weights := slices.Clone(Blend(e.Pool(), t))
	rows, scores, err := learned(ctx, e, t, weights)
	if err != nil {
		return nil, err
	}
	if len(rows) < 2 || len(weights) == 0 {
		return fitted("refine", Plan{Members: weights, Why: "too few labelled examples: the blend"})
	}
	cases := make([]Case, len(rows))
	for i := range rows {
		cases[i].Gold = rows[i].Gold
		for j := range rows[i].Candidates {
			cases[i].X = append(cases[i].X, []float64{RankScale * scores[i][j].Mean()})
		}
	}
	asks := make([]Ask, len(rows))
	for k := range weights {
		moved := slices.Clone(weights)
		moved[k] += secant
		plan := Plan{Members: moved}
		for i, r := range rows {
			asks[i] = plan.Ask(e.Pool(), t, r)
		}
		there, err := e.Score(ctx, asks)
		if err != nil {
			return nil, err
		}
		for i, c := range cases {
			for j := range c.X {
				c.X[j] = append(c.X[j], RankScale*(there[i][j].Mean()-scores[i][j].Mean())/secant)
			}
		}
	}
	change, sigma, gain, err := newtonChange(cases)
	if err != nil {
		return nil, err
	}
	for k := range weights {
		weights[k] += float32(change[k])
	}
	return fitted("refine", Plan{Members: weights,
		Why: fmt.Sprintf("%d examples, prior %.2g; ranking loss of one left out %.3f lower than the blend's, scores being linear", len(rows), sigma, gain)})
}

// newtonChange is the weights' change at the maximum of the posterior, with the
// prior whose changes do best on rows left out, and by how much they do. The
// cases' first feature is the score to begin with.
func newtonChange(cases []Case) (change []float64, sigma, gain float64, err error) {
	n := len(cases[0].X[0])
	mu, prior := make([]float64, n), make([]float64, n)
	mu[0] = 1
	with := func(sigma float64, rows []Case) ([]float64, error) {
		for k := 1; k < n; k++ {
			prior[k] = sigma
		}
		fit, err := FitLogit(rows, mu, prior)
		return fit.Beta, err
	}
	var still float64
	least := math.Inf(1)
	for _, s := range refineSigmas {
		var loss float64
		for i, out := range cases {
			beta, err := with(s, slices.Delete(slices.Clone(cases), i, i+1))
			if err != nil {
				return nil, 0, 0, err
			}
			loss += caseLoss(out, beta) / float64(len(cases))
		}
		if s == 0 {
			still = loss
		}
		if loss < least {
			sigma, least = s, loss
		}
	}
	beta, err := with(sigma, cases)
	if err != nil {
		return nil, 0, 0, err
	}
	return beta[1:], sigma, still - least, nil
}
