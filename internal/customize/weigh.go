package customize

import (
	"context"
	"fmt"
	"slices"

	"crayon/internal/route/signal"
	"crayon/internal/strategy"
	"crayon/internal/strategy/deviceengine"
)

// Weigh is Choose with what its passes tell besides: the scores that other ways
// give the labels, by name, the bare model's as signal.Base, whose softmax is
// the probability; and the features of the plan's stack.
func (q *Query) Weigh(ctx context.Context) (probs []float64, others map[string][]float64, table strategy.Table, err error) {
	e := &overheard{Engine: deviceengine.New(q.d)}
	scores, table, err := q.plan.Look(ctx, e, q.task, q.row)
	if err != nil {
		return nil, nil, table, err
	}
	others = map[string][]float64{}
	for i, a := range e.asks {
		if a.Text != q.ask.Text || !slices.Equal(a.Candidates, q.row.Candidates) {
			continue // not of this question
		}
		name := fmt.Sprintf("pass %d", i)
		if a.Members == nil && a.Private == nil && len(a.Shots) == 0 {
			name = signal.Base
		}
		others[name] = make([]float64, len(e.scores[i]))
		for j, s := range e.scores[i] {
			others[name][j] = strategy.RankScale * s.Mean()
		}
	}
	return strategy.Softmax(scores), others, table, nil
}

// overheard is an engine that keeps what it was asked and what it said.
type overheard struct {
	strategy.Engine
	asks   []strategy.Ask
	scores [][]strategy.Score
}

func (e *overheard) Score(ctx context.Context, asks []strategy.Ask) ([][]strategy.Score, error) {
	scores, err := e.Engine.Score(ctx, asks)
	e.asks, e.scores = append(e.asks, asks...), append(e.scores, scores...)
	return scores, err
}
