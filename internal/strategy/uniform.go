package strategy

import "context"

var uniform = Strategy{
	Name: "uniform", About: "the pool at equal weights", Nominal: 1,
	Fit: func(_ context.Context, e Engine, _ Task) (*Plan, error) {
		w := make([]float32, len(e.Pool().Blended()))
		for i := range w {
			w[i] = 1 / float32(len(w))
		}
		return fitted("uniform", Plan{Members: e.Pool().All(w, 1)})
	},
}
