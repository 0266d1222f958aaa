package pooltrain

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
	"crayon/internal/pool"
)

// Rivals are trained on what the pool is trained on: of the pool's rate, one is
// what Single trains.
func TestRivals(t *testing.T) {
	o := options(t)
	o.Rivals = filepath.Join(t.TempDir(), "rivals.gguf")
	o.Recipe.Rivals = []Rival{
		{Name: "single", Rank: o.Recipe.SingleRank, LearningRate: o.Recipe.LearningRate},
		{Name: "slow", Rank: 3, LearningRate: 1e-5},
	}
	p, err := Run(t.Context(), o)
	require.NoError(t, err)
	b, err := pool.OpenBaselines(o.Rivals)
	require.NoError(t, err)
	require.NoError(t, p.Attach(b))
	require.Equal(t, 3, b.Adapters["slow"].Rank())

	o.Out = filepath.Join(t.TempDir(), "alone.crayon")
	alone, err := Single(t.Context(), o)
	require.NoError(t, err)
	stored := b.Adapters["single"]
	for slot, pair := range alone.Pairs {
		for i, x := range pair.B {
			require.InDelta(t, x*alone.Scale, stored.Pairs[slot].B[i]*stored.Scale, 1e-4, "stored at 16 bits, the scale folded in")
		}
	}

	o.Recipe.Rivals = nil
	_, err = Run(t.Context(), o)
	require.Equal(t, fault.ExitUsage, fault.Code(err))
}

func TestRivalsAreChecked(t *testing.T) {
	for _, text := range []string{
		"rivals: [{name: a b, rank: 1, learning_rate: 1e-3}]",
		"rivals: [{name: a, rank: 0, learning_rate: 1e-3}]",
		"rivals: [{name: a, rank: 1}]",
		"rivals: [{name: a, rank: 1, learning_rate: 1e-3}, {name: a, rank: 2, learning_rate: 1e-3}]",
		"rivals: [{name: a, rank: 1, learning_rate: 1e-3, epochs: 2}]",
	} {
		_, err := ParseRecipe([]byte(text))
		require.Error(t, err, text)
	}
}
