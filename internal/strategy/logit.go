package strategy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"crayon/internal/pool"
)

// Logit is a conditional logit (McFadden, 1974) over a row's candidates: the
// score of a candidate is the sum of its features times their coefficients.
type Logit struct {
	Kind   Kind      `json:"kind"`
	Terms  []Term    `json:"terms"`
	Blend  []float32 `json:"blend,omitempty"` // members of the passes under the blend
	Levels *Levels   `json:"levels,omitempty"`
}

// Term is one feature of a Logit.
type Term struct {
	Feature string  `json:"feature"`
	Beta    float64 `json:"beta"`
	Scale   float64 `json:"scale"` // the centred feature is divided by it; above 0
}

// Levels are what candidates that every row has score whatever the question.
type Levels struct {
	Candidates []string             `json:"candidates"`
	Rows       int                  `json:"rows"`            // that Mean is over
	Mean       map[string][]float64 `json:"mean,omitempty"`  // by pass: log-probability a token, centred over the candidates
	Empty      map[string][]Score   `json:"empty,omitempty"` // by pass without the question
}

// needs are the passes that the terms with a coefficient read.
func (l *Logit) needs() []string {
	var out []string
	for _, p := range passes {
		for _, t := range l.Terms {
			f, _ := featureOf(t.Feature)
			if t.Beta != 0 && slices.Contains(f.passes, p) {
				out = append(out, p)
				break
			}
		}
	}
	return out
}

// look adds the passes of rows to b and returns what makes sights of the
// answers. self gives each row's own index in t, or -1.
func (l *Logit) look(in *pool.Pool, t Task, rows []Row, self func(i int) int, need []string, b *batch) func([][]Score) []sight {
	at := make([]map[string]int, len(rows))
	for i, r := range rows {
		at[i] = map[string]int{}
		for _, pass := range need {
			if l.Levels.empty(pass, r.Candidates) == nil {
				at[i][pass] = b.add(askOf(pass, in, t, l.Blend, r, self(i)))
			}
		}
	}
	return func(scores [][]Score) []sight {
		out := make([]sight, len(rows))
		for i := range rows {
			r := &rows[i]
			s := sight{row: r, raw: map[string][]Score{}, words: words(r.Question), around: words(r.Context)}
			for _, pass := range need {
				if k, ok := at[i][pass]; ok {
					s.raw[pass] = scores[k]
				} else {
					s.raw[pass] = l.Levels.empty(pass, r.Candidates)
				}
			}
			s.seen = evidenceFor(t, r, self(i))
			out[i] = s
		}
		return out
	}
}

// empty are the scores of candidates without a question, if they are known.
func (v *Levels) empty(pass string, candidates []string) []Score {
	if v == nil || v.Empty[pass] == nil {
		return nil
	}
	out := make([]Score, len(candidates))
	for j, c := range candidates {
		i := slices.Index(v.Candidates, c)
		if i < 0 {
			return nil
		}
		out[j] = v.Empty[pass][i]
	}
	return out
}

// learn takes the levels from the sights of a task's own rows.
func (l *Logit) learn(t Task, sights []sight, need []string) {
	if l.Kind == Choices || len(sights) == 0 {
		return
	}
	v := &Levels{Candidates: sights[0].row.Candidates, Mean: map[string][]float64{}, Empty: map[string][]Score{}}
	same := func(s *sight) bool { return slices.Equal(s.row.Candidates, v.Candidates) }
	for i := range sights {
		if same(&sights[i]) {
			v.Rows++
		}
	}
	for _, pass := range need {
		if slices.Contains(unasked, pass) {
			v.Empty[pass] = sights[0].raw[pass]
		}
		if !slices.Contains(ofQuestion, pass) {
			continue
		}
		sum := make([]float64, len(v.Candidates))
		for i := range sights {
			if !same(&sights[i]) {
				continue
			}
			for j, x := range centred(sights[i].raw[pass]) {
				sum[j] += x
			}
		}
		for j := range sum {
			sum[j] /= float64(v.Rows)
		}
		v.Mean[pass] = sum
	}
	l.Levels = v
}

func centred(s []Score) []float64 {
	x, sum := make([]float64, len(s)), 0.0
	for j := range s {
		x[j] = s[j].Mean()
		sum += x[j]
	}
	for j := range x {
		x[j] -= sum / float64(len(x))
	}
	return x
}

// place gives a sight the levels; those of one of the examples' own rows are
// taken over the others.
func (l *Logit) place(s *sight, own bool) {
	v := l.Levels
	if v == nil || own && v.Rows < 2 {
		return
	}
	if own && !slices.Equal(s.row.Candidates, v.Candidates) {
		own = false // it is not among those the mean is over
	}
	at := make([]int, len(s.row.Candidates))
	for j, c := range s.row.Candidates {
		if at[j] = slices.Index(v.Candidates, c); at[j] < 0 {
			return
		}
	}
	s.level = map[string][]float64{}
	for pass, mean := range v.Mean {
		level := make([]float64, len(at))
		var mine []float64
		if own {
			mine = centred(s.raw[pass])
		}
		for j, i := range at {
			level[j] = mean[i]
			if own {
				level[j] = (mean[i]*float64(v.Rows) - mine[j]) / float64(v.Rows-1)
			}
		}
		s.level[pass] = level
	}
}

// prepare is that of a plan with a logit; the gate is on the evidence of all
// passes but the base model's: outside the scope the base model answers.
func (l *Logit) prepare(in *pool.Pool, t Task, queries []Row, b *batch, p *Plan) func([][]Score) [][]float64 {
	need := l.needs()
	if p.Gate != nil && !slices.Contains(need, passBase) {
		need = append([]string{passBase}, need...)
	}
	look := l.look(in, t, queries, func(int) int { return -1 }, need, b)
	return func(scores [][]Score) [][]float64 {
		out := make([][]float64, len(queries))
		for i, s := range look(scores) {
			l.place(&s, false)
			out[i] = l.score(&s)
			if w := float64(p.Gate.Strength(t, queries[i].Direction)); w < 1 {
				for j := range out[i] {
					out[i][j] = w*out[i][j] + (1-w)*RankScale*s.raw[passBase][j].Mean()
				}
			}
		}
		return out
	}
}

func (l *Logit) score(s *sight) []float64 {
	x := s.table(l.Terms)
	out := make([]float64, len(x))
	for j := range x {
		for k, t := range l.Terms {
			out[j] += t.Beta * x[j][k]
		}
	}
	return out
}

func (l *Logit) check(in *pool.Pool) error {
	if l.Blend != nil && len(l.Blend) != len(in.Members) {
		return fmt.Errorf("%d weights, the pool has %d members", len(l.Blend), len(in.Members))
	}
	for _, t := range l.Terms {
		if _, ok := featureOf(t.Feature); !ok {
			return fmt.Errorf("a feature %q, which this program does not know", t.Feature)
		}
		if !(t.Scale > 0) || math.IsInf(t.Scale, 0) || math.IsNaN(t.Beta) || math.IsInf(t.Beta, 0) {
			return fmt.Errorf("%s: a coefficient of %g at scale %g", t.Feature, t.Beta, t.Scale)
		}
	}
	if !slices.Contains(Kinds, l.Kind) {
		return fmt.Errorf("a task of kind %q", l.Kind)
	}
	if v := l.Levels; v != nil {
		for _, m := range v.Mean {
			if len(m) != len(v.Candidates) {
				return errors.New("levels of another number than the candidates")
			}
		}
		for _, m := range v.Empty {
			if len(m) != len(v.Candidates) {
				return errors.New("levels of another number than the candidates")
			}
		}
	}
	return nil
}

// Table is the raw material of a prior: a row's features before scaling.
type Table struct {
	Features []string
	X        [][]float64 // [candidate][feature], centred over the candidates
}

// Features are what a stack reads of queries that are not among the task's
// rows: [query], every feature of the table that the strategy's prior names.
func Features(ctx context.Context, e Engine, t Task, strategy string, queries []Row) ([]Table, error) {
	l, err := bare(strategy, e.Pool(), t)
	if err != nil {
		return nil, err
	}
	for k := range l.Terms {
		l.Terms[k].Beta, l.Terms[k].Scale = 1, 1
	}
	need := l.needs()
	if _, err := l.survey(ctx, e, t, need); err != nil {
		return nil, err
	}
	var b batch
	look := l.look(e.Pool(), t, queries, func(int) int { return -1 }, need, &b)
	scores, err := e.Score(ctx, b.asks)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(l.Terms))
	for k := range names {
		names[k] = l.Terms[k].Feature
	}
	out := make([]Table, len(queries))
	for i, s := range look(scores) {
		l.place(&s, false)
		out[i] = Table{Features: names, X: s.table(l.Terms)}
	}
	return out, nil
}

// survey looks at the task's own rows, those that have candidates, and takes
// the levels from them.
func (l *Logit) survey(ctx context.Context, e Engine, t Task, need []string) ([]sight, error) {
	var rows []Row
	var index []int
	for i, r := range t.Rows {
		if len(r.Candidates) > 0 {
			rows, index = append(rows, r), append(index, i)
		}
	}
	if len(rows) == 0 {
		return nil, nil
	}
	var b batch
	look := l.look(e.Pool(), t, rows, func(i int) int { return index[i] }, need, &b)
	scores, err := e.Score(ctx, b.asks)
	if err != nil {
		return nil, err
	}
	sights := look(scores)
	l.learn(t, sights, need)
	for i := range sights {
		l.place(&sights[i], true)
	}
	return sights, nil
}
