package crayon

import (
	"context"
	"errors"
	"slices"

	"crayon/internal/device"
	"crayon/internal/fault"
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
	adapted := make([][]float32, len(under))
	for i, u := range under {
		if u == nil {
			continue
		}
		var err error
		if adapted[i], err = u.Bind(ctx, c.device); err != nil {
			return nil, err
		}
	}
	var out []Scored
	for n, e := range rows.Examples {
		choices := candidates(custom, rows, n)
		if !e.Labelled || len(choices) < 2 {
			continue
		}
		prompt, err := c.device.Form.Prompt(custom.Text(e.Question, e.Context))
		if err != nil {
			return nil, err
		}
		ask := make([]device.Question, len(under))
		for i := range under {
			ask[i] = device.Question{Prompt: prompt, Choices: choices, Row: adapted[i]}
		}
		scores, err := c.device.Score(ctx, ask)
		if err != nil {
			return nil, err
		}
		s := Scored{Question: e.Question, Right: e.Answer}
		for i := range under {
			s.Given = append(s.Given, choices[device.Best(scores[i])])
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
