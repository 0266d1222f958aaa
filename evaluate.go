package crayon

import (
	"context"
	"errors"
	"slices"

	"crayon/internal/fault"
	"crayon/internal/strategy"
	"crayon/internal/strategy/deviceengine"
)

// Scored is one question answered by choosing, under several weights.
type Scored struct {
	Question string   `json:"question"`
	Right    string   `json:"right"`
	Given    []string `json:"given"` // the answer chosen, by the weights asked for
}

// Evaluate answers rows the way custom would be asked (its labels, its prompt
// form), by choosing the likeliest answer, under each of several weights: those
// of a customisation, or nil for the bare base model. The answers to choose from
// are the labels, else the row's choices, else up to eight of the answers that
// occur. Rows without an answer are left out. progress may be nil.
func (c *Crayon) Evaluate(ctx context.Context, custom *Customisation, rows *Examples, under []*Customisation, progress func(done, total int)) ([]Scored, error) {
	d, err := custom.On(c.device)
	if err != nil {
		return nil, err
	}
	plans, engines := make([]*strategy.Plan, len(under)), make([]strategy.Engine, len(under))
	for i, u := range under {
		if u == nil {
			plans[i], engines[i] = &strategy.Plan{Strategy: "base"}, deviceengine.New(d)
			continue
		}
		on, err := u.On(c.device)
		if err != nil {
			return nil, err
		}
		if _, err := u.Bind(ctx, on); err != nil {
			return nil, err
		}
		if plans[i], err = u.Fitted(on.Pool); err != nil {
			return nil, err
		}
		engines[i] = deviceengine.New(on)
	}
	task := custom.Task()
	var out []Scored
	for n, e := range rows.Examples {
		choices := candidates(custom, rows, n)
		if !e.Labelled || len(choices) < 2 {
			continue
		}
		direction, err := d.Direction(ctx, e.Question)
		if err != nil {
			return nil, err
		}
		query := []strategy.Row{{Question: e.Question, Context: e.Context, Candidates: choices, Direction: direction, Gold: -1}}
		s := Scored{Question: e.Question, Right: e.Answer}
		for i, p := range plans {
			scores, err := p.Scores(ctx, engines[i], task, query)
			if err != nil {
				return nil, err
			}
			s.Given = append(s.Given, choices[strategy.Best(scores[0])])
		}
		out = append(out, s)
		if progress != nil {
			progress(n+1, len(rows.Examples))
		}
	}
	if len(out) == 0 {
		return nil, &fault.Error{Op: "evaluate", Path: rows.Source, Err: errors.New("no row has an answer and something to choose from"),
			Hint: "add an answer column", Exit: fault.ExitUsage}
	}
	return out, nil
}

// mostAnswers bounds the choices of a row that has none of its own.
const mostAnswers = 8

func candidates(custom *Customisation, rows *Examples, n int) []string {
	e := rows.Examples[n]
	if len(custom.Labels) > 0 {
		return custom.Labels
	}
	if len(e.Choices) > 0 {
		return e.Choices
	}
	out := []string{e.Answer}
	for i := range rows.Examples { // the rows after this one, so that no few answers are everyone's wrong ones
		o := rows.Examples[(n+1+i)%len(rows.Examples)]
		if o.Labelled && len(out) < mostAnswers && !slices.Contains(out, o.Answer) {
			out = append(out, o.Answer)
		}
	}
	slices.Sort(out) // the right one's place says nothing
	return out
}
