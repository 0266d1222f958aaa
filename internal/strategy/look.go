package strategy

import (
	"context"
	"slices"
)

// Look is Scores of one query with the table of what its passes tell besides:
// every feature whose passes the plan makes anyway, before scaling. Without a
// stack in the plan there is no table (its Features are nil).
func (p *Plan) Look(ctx context.Context, e Engine, t Task, q Row) ([]float64, Table, error) {
	if err := p.Check(e.Pool()); err != nil {
		return nil, Table{}, err
	}
	var b batch
	queries := []Row{q}
	get := p.prepare(e.Pool(), t, queries, &b)
	tell := func([][]Score) Table { return Table{} }
	if l := p.stack(depth); l != nil {
		look := l.look(e.Pool(), t, queries, func(int) int { return -1 }, l.needs(), &b)
		tell = func(scores [][]Score) Table {
			s := look(scores)[0]
			l.place(&s, false)
			return s.all()
		}
	}
	scores, err := e.Score(ctx, b.asks)
	if err != nil {
		return nil, Table{}, err
	}
	return get(scores)[0], tell(scores), nil
}

// stack is the plan's logit, or the first of its parts'; nil if it has none.
func (p *Plan) stack(left int) *Logit {
	if p.Logit != nil || left == 0 {
		return p.Logit
	}
	for _, part := range p.Parts {
		if l := part.Plan.stack(left - 1); l != nil {
			return l
		}
	}
	return nil
}

// all is the table of every feature that the sight has the passes of.
func (s *sight) all() Table {
	var out Table
	var terms []Term
	for _, f := range features {
		if s.has(f) {
			terms = append(terms, Term{Feature: f.name, Scale: 1})
			out.Features = append(out.Features, f.name)
		}
	}
	out.Features = slices.Clip(out.Features)
	out.X = s.table(terms)
	return out
}
