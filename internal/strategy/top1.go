package strategy

import (
	"context"

	"crayon/internal/pool"
)

var top1 = Strategy{
	Name: "top1", About: "the one adapter most like the examples", Nominal: 1.5,
	Fit: func(_ context.Context, e Engine, t Task) (*Plan, error) {
		mean := Mean(e.Pool(), t)
		if mean == nil {
			return fitted("top1", Plan{Members: sharedAlone(e.Pool()), Why: noExamples})
		}
		return fitted("top1", Plan{Members: e.Pool().All(pool.KeepTop(mean, 1), 1)})
	},
}
