package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"crayon/internal/strategy"
)

// dumpOf is the stack with the most features.
const dumpOf = "stack_shots"

// dump writes what a prior is learned from: each scored row's features and its
// scores by those of the product's strategies that were run.
func (r *runner) dump(ctx context.Context, b *bout) error {
	tables, err := strategy.Features(ctx, r.shared, b.task, dumpOf, b.rows)
	if err != nil {
		return err
	}
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for i, t := range tables {
		row := &b.user.scored[i]
		o := strategy.Observed{User: fmt.Sprintf("%s, k = %d, draw %d", b.user.Name, b.k, b.draw), Dataset: b.user.Dataset, Family: b.user.Family,
			Group: string(b.user.Group), Row: row.ID, Kind: strategy.KindOf(b.task), Examples: len(b.task.Rows),
			Scope: strategy.Scope(r.engine.Pool(), b.task), Gold: row.Answer, Features: t.Features, X: t.X, Scores: map[string][]float64{}}
		for name, scores := range b.scores {
			o.Scores[name] = scores[i]
		}
		if err := enc.Encode(&o); err != nil {
			return err
		}
	}
	r.part.Dump = append(r.part.Dump, lines.Bytes()...)
	return nil
}

// rehearse lets the memory have what a chooser with another prior may ask of the
// strategies that were run, where that takes no learning and no long search.
func (r *runner) rehearse(ctx context.Context, b *bout) error {
	if r.opt.Memory == nil || r.opt.Memory.closed {
		return nil
	}
	var names []string
	for _, m := range r.run {
		s, err := strategy.Get(m.name)
		if err == nil && s.Cost != strategy.Learning && s.Nominal <= rehearsed && !strategy.Selects(s.Name) {
			names = append(names, s.Name)
		}
	}
	return strategy.Rehearse(ctx, r.shared, b.task, names)
}

// rehearsed is the largest nominal time, in seconds, of what is rehearsed.
const rehearsed = 30

// observe keeps a strategy's scores for the dump.
func (b *bout) observe(name string, scores [][]float64) {
	if _, err := strategy.Get(name); err != nil || scores == nil {
		return
	}
	if b.scores == nil {
		b.scores = map[string][][]float64{}
	}
	b.scores[name] = scores
}
