package route

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func genVector(dim int) *rapid.Generator[[]float32] {
	return rapid.SliceOfN(rapid.Float32Range(-4, 4), dim, dim)
}

func TestCosine(t *testing.T) {
	require.Equal(t, float32(1), Cosine([]float32{1, 2}, []float32{2, 4}))
	require.Equal(t, float32(-1), Cosine([]float32{1, 0}, []float32{-3, 0}))
	require.Equal(t, float32(0), Cosine([]float32{1, 0}, []float32{0, 1}))
	require.Equal(t, float32(0), Cosine([]float32{0, 0}, []float32{0, 1}))
	rapid.Check(t, func(t *rapid.T) {
		a, b := genVector(5).Draw(t, "a"), genVector(5).Draw(t, "b")
		c := Cosine(a, b)
		require.True(t, c >= -1 && c <= 1)
		require.Equal(t, c, Cosine(b, a))
	})
}

func TestScopeProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := rapid.SliceOfN(genVector(4), 1, 9).Draw(t, "set")
		q := genVector(4).Draw(t, "q")
		k := rapid.IntRange(1, 12).Draw(t, "k")
		s := Scope(q, set, k)
		require.True(t, s >= -1 && s <= 1)
		require.LessOrEqual(t, s, Scope(q, set, 1), "the nearest is at least as near as the mean of several")
		// The order of the examples does not matter.
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(set), func(i, j int) { set[i], set[j] = set[j], set[i] })
		require.Equal(t, s, Scope(q, set, k))
		// One more example never makes the query farther.
		more := append(append([][]float32{}, set...), q)
		if k <= len(set) {
			require.GreaterOrEqual(t, Scope(q, more, k), s)
		}
	})
	require.True(t, math.IsNaN(float64(Scope([]float32{1}, nil, 1))))
}

func TestLeaveOneOutAgreesWithScope(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := rapid.SliceOfN(genVector(3), 2, 7).Draw(t, "set")
		k := rapid.IntRange(1, 4).Draw(t, "k")
		for i, got := range LeaveOneOut(set, k) {
			rest := append(append([][]float32{}, set[:i]...), set[i+1:]...)
			require.InDelta(t, Scope(set[i], rest, k), got, 1e-6)
		}
	})
	require.True(t, math.IsNaN(float64(LeaveOneOut([][]float32{{1}}, 1)[0])))
}

func TestQuantile(t *testing.T) {
	xs := []float32{4, 1, 3, 2}
	for q, want := range map[float64]float32{0: 1, 1: 4, 0.5: 2.5, 1.0 / 3: 2, -1: 1, 2: 4} {
		require.InDelta(t, want, Quantile(xs, q), 1e-6)
	}
	require.Equal(t, []float32{4, 1, 3, 2}, xs)
	require.True(t, math.IsNaN(float64(Quantile(nil, 0.5))))
}

func TestScopeThresholdSeparates(t *testing.T) {
	// Own queries around one direction, others around another, in 64 dimensions.
	r := rand.New(rand.NewPCG(7, 7))
	around := func(axis int, n int) [][]float32 {
		out := make([][]float32, n)
		for i := range out {
			out[i] = make([]float32, 64)
			for j := range out[i] {
				out[i][j] = float32(r.NormFloat64()) * 0.15
			}
			out[i][axis]++
		}
		return out
	}
	mine := around(0, 16)
	th, err := ScopeThreshold(mine, Neighbours, 0.05, 1)
	require.NoError(t, err)
	stay, leave := 0, 0
	for _, q := range around(0, 200) {
		if Scope(q, mine, Neighbours) >= th {
			stay++
		}
	}
	for _, q := range around(1, 200) {
		if Scope(q, mine, Neighbours) < th {
			leave++
		}
	}
	require.GreaterOrEqual(t, stay, 180)
	require.GreaterOrEqual(t, leave, 195)

	_, err = ScopeThreshold(mine[:3], Neighbours, 0.05, 1)
	require.ErrorIs(t, err, ErrTooFew)
	same := [][]float32{{1, 0}, {1, 0}, {1, 0}, {1, 0}}
	th, err = ScopeThreshold(same, Neighbours, 0.05, 1)
	require.NoError(t, err)
	require.Equal(t, float32(1), th, "equal examples: no slack")
	require.GreaterOrEqual(t, Scope(same[0], same, Neighbours), th)
}

func TestBalance(t *testing.T) {
	th, stayed, wrong := Balance([]float32{.7, .8, .9, .4}, []float32{.1, .2, .5})
	require.InDelta(t, 0.6, th, 1e-6)
	require.Equal(t, 0.75, stayed)
	require.Zero(t, wrong)
	th, _, _ = Balance(nil, []float32{1})
	require.True(t, math.IsNaN(float64(th)))
	rapid.Check(t, func(t *rapid.T) {
		xs := rapid.SliceOfN(rapid.Float32Range(-1, 1), 1, 20)
		a, b := xs.Draw(t, "a"), xs.Draw(t, "b")
		th, stayed, wrong := Balance(a, b)
		count := func(xs []float32) float64 {
			n := 0
			for _, x := range xs {
				if x >= th {
					n++
				}
			}
			return float64(n) / float64(len(xs))
		}
		require.Equal(t, count(a), stayed)
		require.Equal(t, count(b), wrong)
		require.GreaterOrEqual(t, stayed, wrong, "keeping all is always possible")
	})
}
