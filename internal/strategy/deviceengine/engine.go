// Package deviceengine lets strategies score candidates with the device's model
// and pool, through the very passes that answer.
package deviceengine

import (
	"context"

	"crayon/internal/adapter"
	"crayon/internal/device"
	"crayon/internal/pool"
	"crayon/internal/strategy"
)

// Engine is a strategy.Engine over a device. It is safe for concurrent use, as
// the device is.
type Engine struct{ d *device.Device }

// New scores with d.
func New(d *device.Device) *Engine { return &Engine{d} }

// Pool implements strategy.Engine.
func (e *Engine) Pool() *pool.Pool { return e.d.Pool }

// Score implements strategy.Engine. Prompts are those of strategy.Ask.Prompt.
func (e *Engine) Score(ctx context.Context, asks []strategy.Ask) ([][]strategy.Score, error) {
	out := make([][]strategy.Score, len(asks))
	// Those of one private adapter go together: places beside the pool are few.
	var order []*adapter.Adapter
	of := map[*adapter.Adapter][]int{}
	for i := range asks {
		a := asks[i].Private
		if _, ok := of[a]; !ok {
			order = append(order, a)
		}
		of[a] = append(of[a], i)
	}
	for _, a := range order {
		if err := e.under(ctx, a, asks, of[a], out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// under scores the asks of one private adapter, or of none.
func (e *Engine) under(ctx context.Context, private *adapter.Adapter, asks []strategy.Ask, which []int, out [][]strategy.Score) error {
	held, err := e.d.Hold(ctx, private)
	if err != nil {
		return err
	}
	defer held.Release()
	qs := make([]device.Question, len(which))
	for k, i := range which {
		q, err := e.Question(asks[i])
		if err != nil {
			return err
		}
		if q.Row, err = held.Row(asks[i].Members); err != nil {
			return err
		}
		qs[k] = q
	}
	totals, err := e.d.Totals(ctx, qs)
	if err != nil {
		return err
	}
	for k, i := range which {
		out[i] = make([]strategy.Score, len(totals[k]))
		for j, t := range totals[k] {
			out[i][j] = strategy.Score{Sum: t.Sum, Tokens: t.Tokens}
		}
	}
	return nil
}

// Question is an ask as the device is asked it, but for the row of weights.
func (e *Engine) Question(a strategy.Ask) (device.Question, error) {
	prompt, err := a.Prompt(&e.d.Form)
	if err != nil {
		return device.Question{}, err
	}
	return device.Question{Prompt: prompt, Choices: a.Candidates}, nil
}
