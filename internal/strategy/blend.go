package strategy

import (
	"context"

	"crayon/internal/pool"
)

var blend = Strategy{
	Name: "blend", About: "the pool by the examples' similarity to its indicators, no labels needed", Nominal: 1.5,
	Fit: func(_ context.Context, e Engine, t Task) (*Plan, error) {
		p := Plan{Members: Blend(e.Pool(), t)}
		if len(t.Rows) == 0 {
			p.Why = noExamples
		}
		return fitted("blend", p)
	},
}

const noExamples = "there are no examples"

// Blend is the unlabelled blend of a task, one weight a member: the mean of
// its rows' weights, the largest kept; the shared members at 1. Without rows
// it is the shared members alone.
func Blend(p *pool.Pool, t Task) []float32 {
	if t.Blend != nil {
		return t.Blend
	}
	mean := Mean(p, t)
	if mean == nil {
		return sharedAlone(p)
	}
	return p.All(pool.KeepTop(mean, t.keep(p)), 1)
}

// Mean is the mean of the rows' own weights, one a blended member; nil without
// rows.
func Mean(p *pool.Pool, t Task) []float32 {
	if len(p.Blended()) == 0 {
		return nil
	}
	var w [][]float32
	for i := range t.Rows {
		if t.Rows[i].Direction != nil {
			w = append(w, pool.Weights(p.Similarity(t.Rows[i].Direction), p.Feature.Tau))
		}
	}
	if len(w) == 0 {
		return nil
	}
	return pool.Average(w)
}

// keep is how many blended adapters the task keeps; 0: all.
func (t *Task) keep(p *pool.Pool) int {
	if t.Keep == 0 {
		return p.Keep
	}
	return max(t.Keep, 0)
}
