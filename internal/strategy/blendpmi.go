package strategy

import (
	"context"

	"crayon/internal/pool"
)

// pmiShare is how much of what a candidate has without the question is taken
// from its score. Of least log-loss on the left-out families of folds 1 and 2
// is 0.58 (docs/research.md, "Without labels, and the stack's centre").
const pmiShare = 0.6

var (
	sharedPMI = pmiOf("shared_pmi", "shared, less what a choice is likely without the question", func(p *pool.Pool, _ Task) []float32 { return sharedAlone(p) })
	blendPMI  = pmiOf("blend_pmi", "blend, less what a choice is likely without the question", Blend)
)

// pmiOf is the strategy that scores a candidate by
//
//	log p(candidate | question) - pmiShare * log p(candidate | no question),
//
// both a token, under the members: a choice that is likely whatever is asked
// is no answer yet. With a share of 1 it is the domain conditional PMI of
// Holtzman et al. (arXiv:2104.08315), which loses what the pool has learned of
// plausible answers.
func pmiOf(name, about string, members func(*pool.Pool, Task) []float32) Strategy {
	return Strategy{Name: name, About: about, Chooses: true, Nominal: 2,
		Fit: func(ctx context.Context, e Engine, t Task) (*Plan, error) {
			l := &Logit{Kind: KindOf(t), Blend: members(e.Pool(), t), Terms: []Term{
				{Feature: mean(passBlend).name, Beta: RankScale * (1 - pmiShare), Scale: 1},
				{Feature: pmi(passBlend, passEmptyBlend).name, Beta: RankScale * pmiShare, Scale: 1},
			}}
			if l.Kind != Choices { // the same for every query: asked once
				if _, err := l.survey(ctx, e, t, []string{passEmptyBlend}); err != nil {
					return nil, err
				}
			}
			p := Plan{Members: l.Blend, Logit: l}
			if len(t.Rows) == 0 {
				p.Why = noExamples
			}
			return fitted(name, p)
		}}
}
