package strategy

import (
	"context"
	"fmt"

	"crayon/internal/fault"
	"crayon/internal/pool"
)

var (
	stack      = stackOf("stack", "a logit over the scores of base, shared and blend, similarity and form, fitted to the labels", 6)
	stackShots = stackOf("stack_shots", "stack with the blend's scores after worked examples", 30)
)

func stackOf(name, about string, nominal float64) Strategy {
	return Strategy{Name: name, About: about, Cost: Seconds, Nominal: nominal, Chooses: true,
		Fit: func(ctx context.Context, e Engine, t Task) (*Plan, error) { return fitStack(ctx, name, e, t) }}
}

// bare is a stack's logit at the prior's mean.
func bare(name string, in *pool.Pool, t Task) (*Logit, error) {
	l := &Logit{Kind: KindOf(t), Blend: Blend(in, t)}
	prior := t.prior().Stack[name][l.Kind]
	if len(prior) == 0 {
		return nil, &fault.Error{Op: "fit " + name, Err: fmt.Errorf("the prior has no terms for tasks of kind %q", l.Kind), Exit: fault.ExitVerify}
	}
	for _, p := range prior {
		l.Terms = append(l.Terms, Term{Feature: p.Feature, Beta: p.Mu, Scale: p.Scale})
	}
	return l, nil
}

// fitStack finds the coefficients at the maximum of the posterior: the
// likelihood of the labelled rows, each with features of which its own label is
// no part, times the prior that other users' tasks gave.
func fitStack(ctx context.Context, name string, e Engine, t Task) (*Plan, error) {
	l, err := bare(name, e.Pool(), t)
	if err != nil {
		return nil, err
	}
	prior := t.prior().Stack[name][l.Kind]
	// A term that the labels may move is needed whatever its mean.
	reach := *l
	reach.Terms = append([]Term(nil), l.Terms...)
	for k, p := range prior {
		if p.Sigma > 0 {
			reach.Terms[k].Beta = 1
		}
	}
	need := reach.needs()
	sights, err := l.survey(ctx, e, t, need)
	if err != nil {
		return nil, err
	}
	var cases []Case
	for i := range sights {
		if r := sights[i].row; r.Labelled() && len(r.Candidates) > 1 {
			cases = append(cases, Case{X: sights[i].table(l.Terms), Gold: r.Gold})
		}
	}
	mu, sigma := make([]float64, len(prior)), make([]float64, len(prior))
	for k, p := range prior {
		mu[k], sigma[k] = p.Mu, p.Sigma
		if f, ok := featureOf(p.Feature); !ok || f.held {
			sigma[k] = 0
		}
	}
	fit, err := FitLogit(cases, mu, sigma)
	if err != nil {
		return nil, err
	}
	for k := range l.Terms {
		l.Terms[k].Beta = fit.Beta[k]
	}
	why := fmt.Sprintf("%d labelled examples", len(cases))
	if len(cases) == 0 {
		why = "no labelled examples: as other users' tasks have it"
	}
	return fitted(name, Plan{Members: l.Blend, Logit: l, Why: why})
}
