package strategy

import (
	"context"

	"crayon/internal/pool"
)

var shared = Strategy{
	Name: "shared", About: "the shared adapter alone, all pool weights 0", Nominal: 1,
	Fit: func(_ context.Context, e Engine, _ Task) (*Plan, error) {
		return fitted("shared", Plan{Members: sharedAlone(e.Pool())})
	},
}

// sharedAlone has the shared members at 1 and all others at 0.
func sharedAlone(p *pool.Pool) []float32 { return p.All(make([]float32, len(p.Blended())), 1) }
