package strategy

import (
	"context"
	"fmt"
	"slices"

	"crayon/internal/route/signal"
)

// Overhear is Look with what the plan's passes say of the question besides: the
// scores of each that reads it, by name, the bare model's as signal.Base. Their
// softmax is a probability of the candidates, as that of Look's scores is.
func (p *Plan) Overhear(ctx context.Context, e Engine, t Task, q Row) (scores []float64, others map[string][]float64, table Table, err error) {
	heard := &overheard{Engine: e}
	if scores, table, err = p.Look(ctx, heard, t, q); err != nil {
		return nil, nil, table, err
	}
	text := p.Ask(e.Pool(), t, q).Text
	others = map[string][]float64{}
	for i, a := range heard.asks {
		if a.Text != text || !slices.Equal(a.Candidates, q.Candidates) {
			continue // not of this question
		}
		name := fmt.Sprintf("pass %d", i)
		if a.Members == nil && a.Private == nil && len(a.Shots) == 0 {
			name = signal.Base
		}
		others[name] = make([]float64, len(heard.scores[i]))
		for j, s := range heard.scores[i] {
			others[name][j] = RankScale * s.Mean()
		}
	}
	return scores, others, table, nil
}

// overheard is an engine that keeps what it was asked and what it said.
type overheard struct {
	Engine
	asks   []Ask
	scores [][]Score
}

func (e *overheard) Score(ctx context.Context, asks []Ask) ([][]Score, error) {
	scores, err := e.Engine.Score(ctx, asks)
	e.asks, e.scores = append(e.asks, asks...), append(e.scores, scores...)
	return scores, err
}
