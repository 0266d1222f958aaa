package bench

import (
	"cmp"
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strconv"

	"crayon/internal/pool"
	"crayon/internal/qa"
	"crayon/internal/strategy"
)

// bout is one user at one number of examples and one draw of them.
type bout struct {
	user    *User
	k, draw int
	task    strategy.Task
	rows    []strategy.Row         // to score; Gold is -1
	scores  map[string][][]float64 // of the product's strategies, for the dump
}

func guesses(_ context.Context, _ *runner, b *bout) (result, error) {
	return result{picks: slices.Repeat([]int{guess}, len(b.rows))}, nil
}

// gold is the answer of a labelled example, else "".
func gold(r *strategy.Row) string {
	if r.Gold < 0 {
		return ""
	}
	return r.Candidates[r.Gold]
}

// mostFrequent picks the examples' most frequent answer, of equals the first of
// the label set. Where the rows' choices differ no answer can be frequent, and
// without examples none is known: then it guesses.
func mostFrequent(_ context.Context, _ *runner, b *bout) (result, error) {
	best, count := "", 0
	for _, label := range b.task.Labels {
		n := 0
		for i := range b.task.Rows {
			if gold(&b.task.Rows[i]) == label {
				n++
			}
		}
		if n > count {
			best, count = label, n
		}
	}
	picks := make([]int, len(b.rows))
	for i := range picks {
		picks[i] = slices.Index(b.rows[i].Candidates, best) // guess where there is no best
	}
	return result{picks: picks}, nil
}

// neighbours are how many examples vote in knn.
const neighbours = 3

// nearest lets the most similar examples vote for their answers, each with 1 +
// cosine; choices that are no neighbour's answer have no vote.
func nearest(_ context.Context, _ *runner, b *bout) (result, error) {
	picks := make([]int, len(b.rows))
	for i := range b.rows {
		q := &b.rows[i]
		type vote struct {
			answer string
			near   float32
		}
		votes := make([]vote, len(b.task.Rows))
		for j := range b.task.Rows {
			votes[j] = vote{gold(&b.task.Rows[j]), pool.Cosine(q.Direction, b.task.Rows[j].Direction)}
		}
		slices.SortStableFunc(votes, func(x, y vote) int { return cmp.Compare(y.near, x.near) })
		picks[i] = guess
		var most float32
		for c, text := range q.Candidates {
			var sum float32
			for _, v := range votes[:min(neighbours, len(votes))] {
				if v.answer == text {
					sum += 1 + v.near
				}
			}
			if sum > most {
				picks[i], most = c, sum
			}
		}
	}
	return result{picks: picks}, nil
}

// rival scores with a baseline adapter of the pool's file alone.
func rival(name string) func(context.Context, *runner, *bout) (result, error) {
	return func(ctx context.Context, r *runner, b *bout) (result, error) {
		plan := &strategy.Plan{Strategy: name, Private: r.engine.Pool().Baseline[name]}
		return r.scored(ctx, b, plan, nil)
	}
}

// swapped scores with the blend that a user of another family was given.
func swapped(ctx context.Context, r *runner, b *bout) (result, error) {
	other := r.people.stranger(b.user, r.opt.Seed)
	r.part.Swap = other.Name
	of, err := r.taskOf(ctx, other, b.k, b.draw)
	if err != nil {
		return result{}, err
	}
	blend, err := strategy.Get("blend")
	if err != nil {
		return result{}, err
	}
	plan, err := blend.Fit(ctx, r.shared, of)
	if err != nil {
		return result{}, err
	}
	return r.scored(ctx, b, plan, nil)
}

// random scores with weights drawn for the user and draw, uniform over all that
// sum to 1, as many kept as of a blend.
func random(ctx context.Context, r *runner, b *bout) (result, error) {
	key := qa.Hash(r.opt.Seed, "weights", b.user.Name, strconv.Itoa(b.draw))
	rng := rand.New(rand.NewPCG(binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])))
	p := r.engine.Pool()
	w, sum := make([]float32, len(p.Blended())), float32(0)
	for i := range w {
		w[i] = float32(rng.ExpFloat64())
		sum += w[i]
	}
	for i := range w {
		w[i] /= sum
	}
	return r.scored(ctx, b, &strategy.Plan{Strategy: "random", Members: p.All(pool.KeepTop(w, p.Keep), 1)}, nil)
}

// registered fits a strategy of the product and scores its plan.
func registered(s strategy.Strategy) func(context.Context, *runner, *bout) (result, error) {
	return func(ctx context.Context, r *runner, b *bout) (result, error) {
		var plan *strategy.Plan
		c, err := r.memo.charged(func() (err error) {
			plan, err = s.Fit(ctx, r.shared, b.task)
			return err
		})
		if err != nil {
			return result{}, err
		}
		res, err := r.scored(ctx, b, plan, &c)
		if plan.Strategy != s.Name {
			res.chosen = plan.Strategy
		}
		return res, err
	}
}

// scored is a plan's scores of the user's rows.
func (r *runner) scored(ctx context.Context, b *bout, plan *strategy.Plan, fit *cost) (result, error) {
	scores, err := plan.Scores(ctx, r.shared, b.task, b.rows)
	return result{scores: scores, plan: plan, task: b.task, fit: fit}, err
}

// unasked are the rows without their questions.
func unasked(b *bout) []strategy.Row {
	rows := slices.Clone(b.rows)
	for i := range rows {
		rows[i].Question, rows[i].Context, rows[i].Direction = "", "", nil
	}
	return rows
}

// choicesOnly is the blend's choice where it is not told the question: how much
// of its accuracy the choices alone give away.
func choicesOnly(ctx context.Context, r *runner, b *bout) (result, error) {
	blend, err := strategy.Get("blend")
	if err != nil {
		return result{}, err
	}
	plan, err := blend.Fit(ctx, r.shared, b.task)
	if err != nil {
		return result{}, err
	}
	scores, err := plan.Scores(ctx, r.shared, b.task, unasked(b))
	return result{scores: scores}, err
}

// pmi takes from each choice's score what it has without the question.
func pmi(ctx context.Context, r *runner, b *bout) (result, error) {
	plan := &strategy.Plan{Strategy: base}
	with, err := plan.Scores(ctx, r.shared, b.task, b.rows)
	if err != nil {
		return result{}, err
	}
	without, err := plan.Scores(ctx, r.shared, b.task, unasked(b))
	if err != nil {
		return result{}, err
	}
	scores := make([][]float64, len(with))
	for i := range with {
		scores[i] = make([]float64, len(with[i]))
		for j := range with[i] {
			scores[i][j] = with[i][j] - without[i][j]
		}
	}
	return result{scores: scores}, nil
}
