package strategy

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"crayon/internal/pool"
)

// Names of the strategies that choose among the others.
const (
	Chosen           = "chosen"
	ChosenAccuracy   = "chosen_acc"
	ChosenUnlabelled = "chosen_unlabelled"
)

// Selects says whether a strategy of the name chooses among the others.
func Selects(name string) bool {
	return name == Chosen || name == ChosenAccuracy || name == ChosenUnlabelled
}

func init() { // apart from the table, which it reads
	registry = append(registry,
		Strategy{Name: Chosen, About: "the strategy that left-out examples and other users' tasks speak for", Cost: Seconds, Nominal: 10,
			Fit: func(ctx context.Context, e Engine, t Task) (*Plan, error) { return Choose(ctx, e, t, nil, nil) }},
		Strategy{Name: ChosenAccuracy, About: "the strategy with the most left-out examples right", Cost: Seconds, Nominal: 10,
			Fit: chooseByAccuracy},
		Strategy{Name: ChosenUnlabelled, About: "what chosen takes where the examples have no answers", Nominal: 2,
			Fit: func(ctx context.Context, e Engine, t Task) (*Plan, error) { return unlabelled(ctx, e, t.silent()) }},
	)
}

// defaultBudget is a task's, on 2 cores.
const defaultBudget = 20 * time.Second

// Considered is what the chooser found of one strategy, in ranking loss a row
// less than the default's (positive is better).
type Considered struct {
	Strategy  string  `json:"strategy"`
	Observed  float64 `json:"observed"` // mean over the left-out rows
	Posterior float64 `json:"posterior"`
	Deviation float64 `json:"deviation"` // of the posterior
	Accuracy  float64 `json:"accuracy"`  // share of the left-out rows it has right
	Rows      int     `json:"rows"`
}

// judge is the posterior of the advantage: what other users' tasks promise and
// what n rows show here, each by its certainty.
func (c *Considered) judge(x Experience, n int) {
	a, v := x.Spread*x.Spread, x.Noise*x.Noise/float64(n)
	c.Posterior = x.Mean
	if a > 0 {
		c.Posterior = x.Mean + a/(a+v)*(c.Observed-x.Mean)
		c.Deviation = math.Sqrt(a * v / (a + v))
	}
}

// sure is how much better than the default the strategy is, at the least
// likely; 0 for the default.
func (c *Considered) sure() float64 { return c.Posterior - c.Deviation }

// Choose rates strategies on the task's own labelled rows, each left out of
// what is fitted to it: the advantage in ranking loss that other users' tasks
// promise, corrected by what is observed here as far as so few rows can. It fits
// the one whose posterior is furthest above one deviation, or else the default:
// the best of many uncertain ones is mostly the luckiest. names nil: those that the budget
// allows and that so few rows could speak for. Without labels it goes by the scope. progress may be nil.
func Choose(ctx context.Context, e Engine, t Task, names []string, progress func(done, total int)) (*Plan, error) {
	m := NewMemo(e)
	if len(t.labelled()) == 0 {
		return unlabelled(ctx, m, t)
	}
	known := t.prior().Choice.Kinds[KindOf(t)]
	if names == nil {
		names = hopeful(affordable(t, known), known, len(t.labelled()))
	}
	if len(names) == 1 {
		p, err := fitNamed(ctx, m, t, names[0])
		if err != nil {
			return nil, err
		}
		p.Why = "what other users' tasks speak for; there is no time to try others, or nothing that they could show"
		return p, nil
	}
	rated, err := rate(ctx, m, t, names, progress)
	if err != nil {
		return nil, err
	}
	best := 0
	for i, r := range rated {
		if r.sure() > max(rated[best].sure(), sameLoss) {
			best = i
		}
	}
	p, err := fitNamed(ctx, m, t, rated[best].Strategy)
	if err != nil {
		return nil, err
	}
	p.Rated = rated
	p.Why = fmt.Sprintf("best of %d on %d left-out examples and other users' tasks", len(rated), rated[0].Rows)
	return p, nil
}

func chooseByAccuracy(ctx context.Context, e Engine, t Task) (*Plan, error) {
	m := NewMemo(e)
	if len(t.labelled()) == 0 {
		return unlabelled(ctx, m, t)
	}
	rated, err := rate(ctx, m, t, affordable(t, t.prior().Choice.Kinds[KindOf(t)]), nil)
	if err != nil {
		return nil, err
	}
	best := 0
	for i, r := range rated {
		if r.Accuracy > rated[best].Accuracy {
			best = i
		}
	}
	p, err := fitNamed(ctx, m, t, rated[best].Strategy)
	if err != nil {
		return nil, err
	}
	p.Rated, p.Why = rated, fmt.Sprintf("most right of %d left-out examples", rated[0].Rows)
	return p, nil
}

func fitNamed(ctx context.Context, e Engine, t Task, name string) (*Plan, error) {
	s, err := Get(name)
	if err != nil {
		return nil, err
	}
	return s.Fit(ctx, e, t)
}

// unlabelled chooses without any label: the shared adapter where the examples
// are like nothing that the pool was trained on, else the blend; where answers
// are picked, less what they are likely without the question.
func unlabelled(ctx context.Context, e Engine, t Task) (*Plan, error) {
	choice := t.prior().Choice
	scope := Scope(e.Pool(), t)
	s, why := blend, fmt.Sprintf("no labels; the examples are within what the pool knows (%.2f)", scope)
	if !t.Writes {
		s = blendPMI
	}
	if len(t.Rows) == 0 || scope < float64(choice.Scope) {
		s, why = shared, fmt.Sprintf("no labels; the examples are like nothing that the pool knows (%.2f)", scope)
		if !t.Writes {
			s = sharedPMI
		}
	}
	p, err := s.Fit(ctx, NewMemo(e), t)
	if err != nil {
		return nil, err
	}
	p.Why = why
	return p, nil
}

// silent is the task without its rows' answers.
func (t Task) silent() Task {
	t.Rows = slices.Clone(t.Rows)
	for i := range t.Rows {
		t.Rows[i].Gold = -1
	}
	return t
}

// affordable are the strategies of which other users' tasks say something and
// that can be rated within the budget, the default first, then by what they
// may bring; the default alone where to rate that one takes longer. Nominal
// times and the length of the texts decide, not the clock: equal tasks choose
// equally.
func affordable(t Task, known map[string]Experience) []string {
	budget := cmp.Or(t.Budget, defaultBudget).Seconds()
	names := []string{t.prior().Choice.Default}
	allowed := func(name string) bool { return t.Only == nil || slices.Contains(t.Only, name) }
	if s, err := Get(names[0]); err != nil || t.Writes && s.Chooses || !allowed(names[0]) {
		names[0] = "blend"
	}
	size, work := max(1, float64(len(t.Rows))/16), float64(t.text())/nominalText
	if s, err := Get(names[0]); err == nil && s.Nominal*work > budget {
		return names
	}
	var others []Strategy
	for _, s := range registry {
		if _, ok := known[s.Name]; ok && s.Name != names[0] && allowed(s.Name) && !Selects(s.Name) && !(t.Writes && s.Chooses) {
			others = append(others, s)
		}
	}
	upside := func(s Strategy) float64 { return known[s.Name].Mean + known[s.Name].Spread }
	slices.SortStableFunc(others, func(a, b Strategy) int { return cmp.Compare(upside(b), upside(a)) })
	for _, s := range others {
		cost := s.Nominal * max(size, work/passesShared)
		if s.Cost == Learning {
			cost *= learnedFolds + 1
		}
		if cost <= budget {
			budget -= cost
			names = append(names, s.Name)
		}
	}
	return names
}

const (
	// nominalText is what the rows of nominal times have, in bytes.
	nominalText = 16 * 256
	// passesShared is by how much less another strategy takes on long texts than it
	// would alone: most of its passes are the default's.
	passesShared = 3
)

// text is how long the rows are, in bytes, which stand for tokens.
func (t *Task) text() (bytes int) {
	for i := range t.Rows {
		r := &t.Rows[i]
		bytes += len(r.Question) + len(r.Context)
		for _, c := range r.Candidates {
			bytes += len(c)
		}
	}
	return bytes
}

// sameLoss is a difference in ranking loss that the default is not left for.
const sameLoss = 0.005

// luck is how far from what is expected, in deviations, the rows are thought
// to speak at most.
const luck = 2

// hopeful are the strategies that n rows could make surely better than the
// first, which is the default: the others need not be tried.
func hopeful(names []string, known map[string]Experience, n int) []string {
	return slices.DeleteFunc(names, func(name string) bool {
		x, ok := known[name]
		if name == names[0] || !ok {
			return false
		}
		c := Considered{Observed: x.Mean + luck*math.Sqrt(x.Spread*x.Spread+x.Noise*x.Noise/float64(n))}
		c.judge(x, n)
		return c.sure() <= sameLoss
	})
}

// Into how many parts labelled rows are left out: one by one while they are
// few, in learnedFolds parts where each fit learns.
const (
	oneByOne     = 32
	manyFolds    = 8
	learnedFolds = 4
)

// foldsOf deals rows into n parts, those of one answer evenly.
func foldsOf(t Task, rows []int, n int) [][]int {
	n = min(n, len(rows))
	dealt := slices.Clone(rows)
	slices.SortStableFunc(dealt, func(a, b int) int { return cmp.Compare(t.Rows[a].answer(), t.Rows[b].answer()) })
	out := make([][]int, n)
	for i, r := range dealt {
		out[i%n] = append(out[i%n], r)
	}
	return out
}

func (r *Row) answer() string { return r.Candidates[r.Gold] }

// rate scores each strategy on the labelled rows, left out of what is fitted to
// them. What is made without labels (the blend) is made of all rows, and shared
// by the folds. The first name is what the others are measured against.
func rate(ctx context.Context, e Engine, t Task, names []string, progress func(done, total int)) ([]Considered, error) {
	known := t.prior().Choice.Kinds[KindOf(t)]
	t.Blend = Blend(e.Pool(), t)
	rows := t.labelled()
	out := make([]Considered, len(names))
	var first []float64
	for k, name := range names {
		s, err := Get(name)
		if err != nil {
			return nil, err
		}
		x, ok := known[name]
		if !ok {
			x = Experience{Scale: 1, Spread: 0.1, Noise: 1} // nothing is known of it
		}
		loss, right, err := s.leftOut(ctx, e, t, rows, x.Scale)
		if err != nil {
			return nil, err
		}
		if k == 0 {
			first = loss
			x.Mean, x.Spread = 0, 0
		}
		c := Considered{Strategy: name, Accuracy: right, Rows: len(rows)}
		for i := range loss {
			c.Observed += (first[i] - loss[i]) / float64(len(rows))
		}
		c.judge(x, len(rows))
		out[k] = c
		if progress != nil {
			progress(k+1, len(names))
		}
	}
	return out, nil
}

// Rehearse asks the engine all that choosing among the strategies named may
// ask, whatever the prior: for an engine that remembers.
func Rehearse(ctx context.Context, e Engine, t Task, names []string) error {
	if len(t.labelled()) == 0 {
		return nil
	}
	_, err := rate(ctx, NewMemo(e), t, names, nil)
	return err
}

// leftOut is the strategy's ranking loss of each of the rows and the share of
// them that is right, each row scored by a plan that was fitted without it.
func (s Strategy) leftOut(ctx context.Context, e Engine, t Task, rows []int, scale float64) (loss []float64, right float64, err error) {
	n := len(rows)
	if n > oneByOne {
		n = manyFolds
	}
	if s.Cost == Learning {
		n = learnedFolds
	}
	of := make(map[int]float64, len(rows))
	for _, fold := range foldsOf(t, rows, n) {
		rest := t.Without(fold...)
		plan, err := s.Fit(ctx, e, rest)
		if err != nil {
			return nil, 0, err
		}
		queries := make([]Row, len(fold))
		for i, r := range fold {
			queries[i] = t.Rows[r]
		}
		scores, err := plan.Scores(ctx, e, rest, queries)
		if err != nil {
			return nil, 0, err
		}
		for i, r := range fold {
			of[r] = RankLoss(scores[i], t.Rows[r].Gold, scale)
			if Best(scores[i]) == t.Rows[r].Gold {
				right++
			}
		}
	}
	for _, r := range rows {
		loss = append(loss, of[r])
	}
	return loss, right / float64(max(1, len(rows))), nil
}

// RankLoss is the cross-entropy of softmax(scale * scores), hedged with 1 % of
// chance so that no single row decides.
func RankLoss(scores []float64, gold int, scale float64) float64 {
	scaled := make([]float64, len(scores))
	for j, s := range scores {
		scaled[j] = scale * s
	}
	p := math.Exp(logSoftmax(scaled, gold))
	return -math.Log(0.99*p + 0.01/float64(len(scores)))
}

// Best is the index of the largest score, the first at a tie.
func Best(scores []float64) int {
	best := 0
	for j, s := range scores {
		if s > scores[best] {
			best = j
		}
	}
	return best
}

// Scope is how near the rows are to what the pool was trained on: their mean
// cosine to the nearest indicator; 0 without rows.
func Scope(p *pool.Pool, t Task) float64 {
	scope, n := 0.0, 0
	for i := range t.Rows {
		if t.Rows[i].Direction == nil || len(p.Blended()) == 0 {
			continue
		}
		scope += float64(slices.Max(p.Similarity(t.Rows[i].Direction)))
		n++
	}
	return scope / float64(max(1, n))
}
