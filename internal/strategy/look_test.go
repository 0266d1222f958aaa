package strategy

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Look scores as Scores does and asks nothing more; its table has the features
// of all passes that were made, also those that the stack gives no weight.
func TestLookAsksNoMore(t *testing.T) {
	for _, name := range []string{"blend", "stack", "mix"} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				e := newFake()
				task := drawTask(t, Labels, 4)
				s, err := Get(name)
				require.NoError(t, err)
				plan, err := s.Fit(t.Context(), e, task)
				require.NoError(t, err)
				q := drawRow(t, rand.New(rand.NewPCG(1, 9)), Labels, 99)
				e.asks = nil
				want, err := plan.Scores(t.Context(), e, task, []Row{q})
				require.NoError(t, err)
				asked := len(e.asks)
				e.asks = nil
				got, table, err := plan.Look(t.Context(), e, task, q)
				require.NoError(t, err)
				require.Equal(t, want[0], got)
				require.Len(t, e.asks, asked)
				if name != "stack" { // there is none in it
					require.Empty(t, table.Features)
					return
				}
				require.Len(t, table.X, len(q.Candidates))
				require.Contains(t, table.Features, "in_question")
				for _, x := range table.X {
					require.Len(t, x, len(table.Features))
				}
				for k := range table.Features {
					sum := 0.0
					for _, x := range table.X {
						sum += x[k]
					}
					require.InDelta(t, 0, sum, 1e-6, "centred over the candidates")
				}
				for _, f := range table.Features {
					require.True(t, slices.Contains(FeatureNames(), f))
				}
			})
		})
	}
}
