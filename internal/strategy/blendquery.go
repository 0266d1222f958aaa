package strategy

import (
	"context"

	"crayon/internal/pool"
)

var blendQuery = Strategy{
	Name: "blend_query", About: "the pool by each query's own similarity", Nominal: 1.5,
	Fit: func(_ context.Context, e Engine, t Task) (*Plan, error) {
		return fitted("blend_query", Plan{Members: Blend(e.Pool(), t), PerQuery: true, Keep: t.keep(e.Pool())})
	},
}

// own are the weights that one direction gives, one a member.
func own(p *pool.Pool, direction []float32, keep int) []float32 {
	sim := p.Similarity(direction)
	if len(sim) == 0 {
		return sharedAlone(p)
	}
	return p.All(pool.KeepTop(pool.Weights(sim, p.Feature.Tau), keep), 1)
}
