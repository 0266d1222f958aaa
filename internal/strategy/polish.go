package strategy

import (
	"context"
	"errors"
	"fmt"

	"crayon/internal/fault"
	"crayon/internal/pool"
)

var (
	polish     = polishOf("polish", "a private adapter beside the blend, trained on the labels and held to the blend", Blend)
	polishBase = polishOf("polish_base", "a private adapter on the bare base model, trained on the labels and held to it", nil)
)

// How a private adapter is trained. docs/research.md has what else was tried.
const (
	polishRank  = 8
	polishSteps = 20
	polishRate  = 1e-3
	polishHeld  = 1.0
)

func polishOf(name, about string, members func(*pool.Pool, Task) []float32) Strategy {
	return Strategy{Name: name, About: about, Cost: Learning, Nominal: 30,
		Fit: func(ctx context.Context, e Engine, t Task) (*Plan, error) {
			var beside []float32
			if members != nil {
				beside = members(e.Pool(), t)
			}
			return fitPolish(ctx, name, e, t, beside)
		}}
}

// fitPolish trains on the labelled rows' ranking loss, and holds the
// probabilities of all rows' candidates to what they were: as a row's own label
// pulls against its old probabilities, no row is learned by heart.
func fitPolish(ctx context.Context, name string, e Engine, t Task, members []float32) (*Plan, error) {
	l, ok := Learns(e)
	if !ok {
		return nil, &fault.Error{Op: "fit " + name, Err: errors.New("this engine scores, and does not learn"), Exit: fault.ExitUsage}
	}
	plan := Plan{Members: members}
	rows, _, err := learned(ctx, e, t, members)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		plan.Why = "no labelled examples: nothing is trained"
		return fitted(name, plan)
	}
	var asks []Ask
	golds := make([]int, len(rows))
	for i, r := range rows {
		asks = append(asks, plan.Ask(e.Pool(), t, r))
		golds[i] = r.Gold
	}
	held, err := heldRows(ctx, e, t, &plan)
	if err != nil {
		return nil, err
	}
	plan.Private, err = l.Tune(ctx, Tuning{
		Rank: polishRank, Steps: polishSteps, LearningRate: polishRate, Seed: 1,
		Held: append(append([]Ask(nil), asks...), held...), HeldWeight: polishHeld,
	}, asks, golds)
	if err != nil {
		return nil, err
	}
	plan.Why = fmt.Sprintf("rank %d, %d steps on %d examples", polishRank, polishSteps, len(rows))
	return fitted(name, plan)
}

// heldRows are rows without an answer, as prompts with the candidates that
// the plan likes best: no more than there may be labelled ones.
func heldRows(ctx context.Context, e Engine, t Task, plan *Plan) ([]Ask, error) {
	var asks []Ask
	for i := range t.Rows {
		if r := &t.Rows[i]; !r.Labelled() && len(r.Candidates) > 1 && len(asks) < mostLearned {
			asks = append(asks, plan.Ask(e.Pool(), t, *r))
		}
	}
	if len(asks) == 0 {
		return nil, nil
	}
	scores, err := e.Score(ctx, asks)
	if err != nil {
		return nil, err
	}
	for i := range asks {
		all := asks[i].Candidates
		asks[i].Candidates = nil
		for _, j := range hardest(scores[i], -1) {
			if len(asks[i].Candidates) <= rivals {
				asks[i].Candidates = append(asks[i].Candidates, all[j])
			}
		}
	}
	return asks, nil
}
