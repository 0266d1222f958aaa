package strategy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"crayon/internal/adapter"
	"crayon/internal/pool"
	"crayon/internal/route"
	"crayon/internal/task"
)

// Plan is a fitted strategy: what a customisation stores and what scores a
// query's candidates.
type Plan struct {
	Strategy string    `json:"strategy"`
	Why      string    `json:"why,omitempty"`       // how it came to be this one
	Members  []float32 `json:"members,omitempty"`   // one a pool member; none: the base model
	PerQuery bool      `json:"per_query,omitempty"` // the weights follow each query's own similarity, Members where it has no direction
	Keep     int       `json:"keep,omitempty"`      // of the weights of PerQuery, how many; 0: all
	Shots    int       `json:"shots,omitempty"`     // worked examples in the prompt, the most similar
	After    int       `json:"after,omitempty"`     // but for so many that are more similar

	Private *adapter.Adapter `json:"-"`                 // beside the members
	File    string           `json:"private,omitempty"` // sha256 of the file that Private is stored in

	Logit *Logit       `json:"logit,omitempty"`
	Parts []Part       `json:"parts,omitempty"` // a mixture: the weighted mean of the parts' probabilities
	Gate  *Gate        `json:"gate,omitempty"`
	Rated []Considered `json:"rated,omitempty"` // by the chooser
}

// Part is a plan's share in a mixture.
type Part struct {
	Share float64 `json:"share"` // above 0
	Plan  *Plan   `json:"plan"`
}

// Gate lets a plan's strength follow the query's scope (route.Scope against
// the examples): 0 up to Low, 1 from High on, smooth between. Outside the
// user's tasks the base model answers.
type Gate struct {
	Low  float32 `json:"low"`
	High float32 `json:"high"`
}

// Strength is 0 to 1; 1 without a gate, and where there is no scope.
func (g *Gate) Strength(t Task, direction []float32) float32 {
	if g == nil || len(t.Rows) == 0 || direction == nil {
		return 1
	}
	set := make([][]float32, len(t.Rows))
	for i := range t.Rows {
		set[i] = t.Rows[i].Direction
	}
	x := (route.Scope(direction, set, route.Neighbours) - g.Low) / max(g.High-g.Low, 1e-6)
	x = max(0, min(1, x))
	return x * x * (3 - 2*x)
}

// RankScale is the factor of mean log-probabilities in the ranking loss of
// training: the softmax of RankScale times them is a plain plan's probability.
const RankScale = 4

// Ask is the prompt of one query under the plan, without its Logit and Parts.
func (p *Plan) Ask(in *pool.Pool, t Task, q Row) Ask {
	a := Ask{Text: task.Text(q.Question, q.Context, t.Labels), Candidates: q.Candidates, Private: p.Private, Members: p.Members}
	if p.PerQuery && q.Direction != nil {
		a.Members = own(in, q.Direction, p.Keep)
	}
	a.Shots = worked(t, q.Direction, p.Shots, p.After)
	switch s := p.Gate.Strength(t, q.Direction); {
	case s == 0:
		a.Members, a.Private = nil, nil
	case s < 1:
		a.Members = slices.Clone(a.Members)
		for i := range a.Members {
			a.Members[i] *= s
		}
		if a.Private != nil {
			weak := *a.Private
			weak.Scale *= s
			a.Private = &weak
		}
	}
	return a
}

// Scores are one a candidate of every query, larger is better; their softmax
// is the candidates' probability. Queries' Gold is not read. It asks the engine
// once.
func (p *Plan) Scores(ctx context.Context, e Engine, t Task, queries []Row) ([][]float64, error) {
	if err := p.Check(e.Pool()); err != nil {
		return nil, err
	}
	var b batch
	get := p.prepare(e.Pool(), t, queries, &b)
	scores, err := e.Score(ctx, b.asks)
	if err != nil {
		return nil, err
	}
	return get(scores), nil
}

// Asks are what Scores asks the engine for one query; the plan fits the pool
// (Check).
func (p *Plan) Asks(in *pool.Pool, t Task, q Row) []Ask {
	var b batch
	p.prepare(in, t, []Row{q}, &b)
	return b.asks
}

// prepare adds what has to be asked to b, and returns what makes scores of the
// answers.
func (p *Plan) prepare(in *pool.Pool, t Task, queries []Row, b *batch) func([][]Score) [][]float64 {
	switch {
	case p.Logit != nil:
		return p.Logit.prepare(in, t, queries, b, p)
	case len(p.Parts) > 0:
		parts := make([]func([][]Score) [][]float64, len(p.Parts))
		for i, part := range p.Parts {
			parts[i] = part.Plan.prepare(in, t, queries, b)
		}
		return func(scores [][]Score) [][]float64 { return p.mixed(parts, scores) }
	}
	at := make([]int, len(queries))
	for i, q := range queries {
		at[i] = b.add(p.Ask(in, t, q))
	}
	return func(scores [][]Score) [][]float64 {
		out := make([][]float64, len(at))
		for i, k := range at {
			out[i] = make([]float64, len(scores[k]))
			for j, s := range scores[k] {
				out[i][j] = RankScale * s.Mean()
			}
		}
		return out
	}
}

// mixed is the logarithm of the parts' mean probabilities.
func (p *Plan) mixed(parts []func([][]Score) [][]float64, scores [][]Score) [][]float64 {
	var whole float64
	for _, part := range p.Parts {
		whole += part.Share
	}
	var out [][]float64
	for k, get := range parts {
		for i, row := range get(scores) {
			if k == 0 {
				out = append(out, make([]float64, len(row)))
			}
			for j, x := range Softmax(row) {
				out[i][j] += p.Parts[k].Share / whole * x
			}
		}
	}
	for i := range out {
		for j, x := range out[i] {
			out[i][j] = math.Log(max(x, 1e-300))
		}
	}
	return out
}

// Plain says whether the plan is weights alone: then a candidate's score is
// that of the model under Members.
func (p *Plan) Plain() bool { return p.Logit == nil && len(p.Parts) == 0 }

// depth bounds mixtures of mixtures.
const depth = 4

// Check says what of a stored plan does not fit the pool.
func (p *Plan) Check(in *pool.Pool) error { return p.check(in, depth) }

func (p *Plan) check(in *pool.Pool, left int) error {
	switch {
	case p.Members != nil && len(p.Members) != len(in.Members):
		return fmt.Errorf("%d weights, the pool has %d members", len(p.Members), len(in.Members))
	case p.Shots < 0 || p.Shots > 256:
		return fmt.Errorf("%d worked examples", p.Shots)
	case p.After < 0 || p.After > 256:
		return fmt.Errorf("worked examples after %d", p.After)
	case p.Keep < 0:
		return errors.New("keep is negative")
	case p.Gate != nil && !(p.Gate.Low <= p.Gate.High):
		return fmt.Errorf("a gate from %g to %g", p.Gate.Low, p.Gate.High)
	case p.Logit != nil && len(p.Parts) > 0:
		return errors.New("a stack and a mixture at once")
	case len(p.Parts) > 64 || len(p.Parts) > 0 && left == 0:
		return errors.New("too many parts")
	}
	for _, w := range p.Members {
		if !(math.Abs(float64(w)) <= 1e6) {
			return fmt.Errorf("a weight of %g", w)
		}
	}
	if p.Logit != nil {
		return p.Logit.check(in)
	}
	for _, part := range p.Parts {
		if part.Plan == nil || !(part.Share > 0 && part.Share <= 1e6) {
			return fmt.Errorf("a part with a share of %g", part.Share)
		}
		if err := part.Plan.check(in, left-1); err != nil {
			return err
		}
	}
	return nil
}

// Softmax of scores; uniform for equal ones.
func Softmax(scores []float64) []float64 {
	if len(scores) == 0 {
		return nil
	}
	top, sum := slices.Max(scores), 0.0
	p := make([]float64, len(scores))
	for i, s := range scores {
		p[i] = math.Exp(s - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}
