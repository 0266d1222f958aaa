package pooltrain

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/kernel"
)

// clusters draws n unit vectors about each of k centres.
func clusters(rng *rand.Rand, k, n, dim int, spread float64) (x [][]float32, of []int) {
	unit := func(v []float32) []float32 {
		kernel.Scale(1/float32(math.Sqrt(float64(kernel.Dot(v, v)))), v)
		return v
	}
	for c := range k {
		for range n {
			v := make([]float32, dim)
			for i := range v {
				v[i] = float32(spread * rng.NormFloat64())
			}
			v[c]++
			x, of = append(x, unit(v)), append(of, c)
		}
	}
	return x, of
}

func TestKMeansFindsSeparateClusters(t *testing.T) {
	team := kernel.NewTeam(2)
	defer team.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	const k, n, dim = 6, 60, 16
	x, truth := clusters(rng, k, n, dim, 0.01)
	for seed := range uint64(5) {
		centroids, of := kmeans(team, x, k, 40, seed)
		require.Len(t, centroids, k)
		name := map[int]int{}
		for i, c := range of {
			if _, known := name[truth[i]]; !known {
				name[truth[i]] = c
			}
			require.Equal(t, name[truth[i]], c, "seed %d, vector %d", seed, i)
		}
		require.Len(t, name, k)
		for _, c := range centroids {
			require.InDelta(t, 1, kernel.Dot(c, c), 1e-5)
		}
		again, ofAgain := kmeans(nil, x, k, 40, seed)
		require.Equal(t, centroids, again, "one seed, another number of threads")
		require.Equal(t, of, ofAgain)
	}
}

// Fewer different vectors than clusters, and vectors of length 0 (a question
// that is the training mean), end without a centroid that is no number.
func TestKMeansOfLittle(t *testing.T) {
	one := []float32{1, 0}
	for _, x := range [][][]float32{{one, one, one}, {one, {0, 1}, one}, {{0, 0}, {0, 0}, one}} {
		centroids, of := kmeans(nil, x, 3, 10, 1)
		require.Len(t, centroids, 3)
		require.Len(t, of, 3)
		for _, c := range centroids {
			for _, v := range c {
				require.False(t, math.IsNaN(float64(v)))
			}
		}
	}
}
