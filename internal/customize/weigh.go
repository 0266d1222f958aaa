package customize

import (
	"context"

	"crayon/internal/strategy"
	"crayon/internal/strategy/deviceengine"
)

// Weigh is Choose with what its passes tell besides: the scores that other ways
// give the labels, by name, the bare model's as signal.Base, whose softmax is
// the probability; and the features of the plan's stack.
func (q *Query) Weigh(ctx context.Context) (probs []float64, others map[string][]float64, table strategy.Table, err error) {
	scores, others, table, err := q.plan.Overhear(ctx, deviceengine.New(q.d), q.task, q.row)
	if err != nil {
		return nil, nil, table, err
	}
	return strategy.Softmax(scores), others, table, nil
}
