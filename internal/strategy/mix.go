package strategy

import "context"

var mix = Strategy{
	Name: "mix", About: "the mean of the probabilities of base, shared and blend", Nominal: 0.5, Chooses: true,
	Fit: func(ctx context.Context, e Engine, t Task) (*Plan, error) {
		p := Plan{Members: Blend(e.Pool(), t)}
		for _, s := range []Strategy{base, shared, blend} {
			part, err := s.Fit(ctx, e, t)
			if err != nil {
				return nil, err
			}
			p.Parts = append(p.Parts, Part{Share: 1, Plan: part})
		}
		return fitted("mix", p)
	},
}
