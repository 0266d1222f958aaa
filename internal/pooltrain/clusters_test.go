package pooltrain

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/kernel"
	"crayon/internal/pool"
)

// The number of groups that made the rows is found again.
func TestClustersThatAreThereRecur(t *testing.T) {
	team := kernel.NewTeam(1)
	defer team.Close()
	for _, groups := range []int{4, 8} {
		rng := rand.New(rand.NewPCG(uint64(groups), 9))
		const dim = 24
		var centres, x [][]float32
		for range groups {
			centres = append(centres, noise(rng, dim, 1))
		}
		for i := range 60 * groups {
			v := noise(rng, dim, 0.25)
			for d, c := range centres[i%groups] {
				v[d] += c
			}
			u, err := pool.Direction(v, make([]float32, dim), nil)
			require.NoError(t, err)
			x = append(x, u)
		}
		var tried []Clustering
		for _, n := range []int{2, 3, 4, 6, 8, 12, 16} {
			c := recur(team, x, n, 1)
			require.Equal(t, c, recur(team, x, n, 1))
			if len(tried) > 0 {
				require.Greater(t, c.Cohesion, tried[len(tried)-1].Cohesion-0.02, "more groups are never much further away")
			}
			tried = append(tried, c)
		}
		require.Equal(t, groups, chooseN(tried), "%+v", tried)
	}
}

func noise(rng *rand.Rand, n int, sigma float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(sigma * rng.NormFloat64())
	}
	return v
}

func TestAdjustedRand(t *testing.T) {
	require.InDelta(t, 1, adjustedRand([]int{0, 0, 1, 1, 2}, []int{2, 2, 0, 0, 1}, 3), 1e-12)
	require.InDelta(t, 1, adjustedRand([]int{0, 0}, []int{1, 1}, 2), 1e-12)
	// The worked example of Hubert and Arabie's form: table 1 1 0 / 1 2 1 / 0 0 4.
	a := []int{0, 0, 1, 1, 1, 1, 2, 2, 2, 2}
	b := []int{0, 1, 0, 1, 1, 2, 2, 2, 2, 2}
	require.InDelta(t, 0.3126, adjustedRand(a, b, 3), 1e-4)
	require.Less(t, adjustedRand([]int{0, 1, 0, 1}, []int{0, 0, 1, 1}, 2), 0.01)
}

func TestSurvey(t *testing.T) {
	o := options(t)
	got, err := Survey(t.Context(), o, 0)
	require.NoError(t, err)
	require.Equal(t, 48, got.Rows)
	require.Len(t, got.Tried, 1, "rows for one number alone")
	require.Equal(t, 2, got.Chosen)
	require.Equal(t, 48, got.Groups[0].Rows+got.Groups[1].Rows)
	again, err := Survey(t.Context(), o, 48)
	require.NoError(t, err)
	require.Equal(t, got, again)
}
