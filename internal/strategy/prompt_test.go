package strategy

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Asks are what the engine is really asked, each once: of every strategy that
// needs no learner, and of a plan with a gate.
func TestAsksAreThoseOfScores(t *testing.T) {
	several := 0
	fits := slices.DeleteFunc(All(), func(s Strategy) bool { return s.Cost == Learning })
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(Kinds).Draw(t, "kind")
		task := drawTask(t, kind, 5)
		q := drawRow(t, rand.New(rand.NewPCG(4, 5)), kind, 99)
		s := rapid.SampledFrom(fits).Draw(t, "strategy")
		f := newFake()
		plan, err := s.Fit(t.Context(), f, task)
		require.NoError(t, err)
		if rapid.Bool().Draw(t, "gated") {
			gated := *plan
			gated.Gate = &Gate{Low: -1, High: 1}
			plan = &gated
		}
		asks := plan.Asks(f.p, task, q)
		f.asks = nil
		_, err = plan.Scores(t.Context(), f, task, []Row{q})
		require.NoError(t, err)
		require.Equal(t, f.asks, asks)
		require.NotEmpty(t, asks)
		if plan.Plain() {
			require.Len(t, asks, 1)
		}
		if len(asks) > 1 {
			several++
		}
	})
	require.Positive(t, several)
}
