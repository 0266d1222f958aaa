// Package benchengine lets the benchmark score with the device's model and pool,
// through the very code that customises and answers.
package benchengine

import (
	"context"
	"fmt"

	"crayon/internal/adapter"
	"crayon/internal/bench"
	"crayon/internal/customize"
	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/model"
	"crayon/internal/pooltrain"
	"crayon/internal/qa"
	"crayon/internal/task"
)

// Engine scores rows on a device.
type Engine struct {
	d      *device.Device
	single *model.Side
	row    []float32 // of single: all ones
}

// New takes the device's pool; with a baseline "single" in the pool's file it
// has that mode too.
func New(d *device.Device) (*Engine, error) {
	e := &Engine{d: d}
	a := d.Pool.Baseline[pooltrain.SingleName]
	if a == nil {
		return e, nil
	}
	stack, err := adapter.NewStack([]*adapter.Adapter{a})
	if err != nil {
		return nil, err
	}
	if e.single, err = d.Model.NewSide(stack); err != nil {
		return nil, err
	}
	e.row = stack.RowWeights([]float32{1})
	return e, nil
}

// Modes implements bench.Engine.
func (e *Engine) Modes() []bench.Mode {
	m := []bench.Mode{bench.ModeBase, bench.ModeUniform, bench.ModeBlend}
	if e.single != nil {
		m = append(m, bench.ModeSingle)
	}
	return m
}

// Customise implements bench.Engine: the product's own customisation.
func (e *Engine) Customise(ctx context.Context, rows []qa.Row, labels []string) (bench.Customisation, error) {
	if len(rows) == 0 {
		return e.d.Row(e.d.Pool.All(make([]float32, len(e.d.Pool.Blended())), 1)), nil
	}
	set := &examples.Set{Labels: labels, Source: "bench"}
	for _, r := range rows {
		set.Examples = append(set.Examples, examples.Example{Question: r.Question, Context: r.Context, Answer: r.Gold(), Choices: r.Choices, Labelled: true})
	}
	c, err := customize.Make(ctx, e.d, "bench", set, customize.Options{})
	if err != nil {
		return nil, err
	}
	members, err := c.Members(e.d.Pool)
	if err != nil {
		return nil, err
	}
	return e.d.Row(members), nil
}

// batch is how many rows are scored in one call of the model.
const batch = 16

// Score implements bench.Engine.
func (e *Engine) Score(ctx context.Context, req bench.Request, done func(int)) ([][]float64, error) {
	side, row := e.d.Side(), []float32(nil)
	switch req.Mode {
	case bench.ModeBase:
	case bench.ModeSingle:
		if e.single == nil {
			return nil, fmt.Errorf("the pool has no baseline %q", pooltrain.SingleName)
		}
		side, row = e.single, e.row
	case bench.ModeUniform:
		n := len(e.d.Pool.Blended())
		w := make([]float32, n)
		for i := range w {
			w[i] = 1 / float32(n)
		}
		row = e.d.Row(e.d.Pool.All(w, 1))
	case bench.ModeBlend:
		var ok bool
		if row, ok = req.Custom.([]float32); !ok {
			return nil, fmt.Errorf("mode %q needs a customisation", req.Mode)
		}
	default:
		return nil, fmt.Errorf("mode %q is unknown", req.Mode)
	}
	shots := make([]task.Shot, len(req.Shots))
	for i, s := range req.Shots {
		shots[i] = task.Shot{Text: task.Text(s.Question, s.Context, req.Labels), Answer: s.Gold()}
	}
	var out [][]float64
	for lo := 0; lo < len(req.Rows); lo += batch {
		rows := req.Rows[lo:min(lo+batch, len(req.Rows))]
		asks := make([]model.Ask, len(rows))
		for i, r := range rows {
			prompt, err := e.d.Form.Shots(shots, task.Text(r.Question, r.Context, req.Labels))
			if err != nil {
				return nil, err
			}
			limit := task.MaxPrompt
			if len(shots) > 0 {
				limit = maxShots
			}
			asks[i] = model.Ask{Row: row}
			longest := 0
			for _, c := range r.Choices {
				answer := e.d.Form.Answer(c)
				asks[i].Answers = append(asks[i].Answers, answer)
				longest = max(longest, len(answer))
			}
			asks[i].Prefix = task.Cut(prompt, min(limit, e.d.Model.Config.Context-longest))
		}
		lps, err := e.d.Model.LogProbs(ctx, side, asks)
		if err != nil {
			return nil, err
		}
		for _, answers := range lps {
			scores := make([]float64, len(answers))
			for j, lp := range answers {
				scores[j] = model.Mean(lp)
			}
			out = append(out, scores)
		}
		done(len(rows))
	}
	return out, nil
}

// maxShots is how many tokens a prompt with worked examples keeps.
const maxShots = 1536
