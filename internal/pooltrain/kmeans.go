package pooltrain

import (
	"math"
	"math/rand/v2"

	"crayon/internal/kernel"
)

// kmeans clusters unit vectors into k groups by cosine (spherical k-means,
// seeded by k-means++, Arthur and Vassilvitskii 2007). It returns unit
// centroids and each vector's cluster; it is deterministic for a seed.
func kmeans(t *kernel.Team, x [][]float32, k, rounds int, seed uint64) (centroids [][]float32, of []int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	nearest := make([]float32, len(x)) // largest cosine to a centroid so far
	for i := range nearest {
		nearest[i] = -1
	}
	pick := x[rng.IntN(len(x))]
	for {
		c := append([]float32(nil), pick...)
		centroids = append(centroids, c)
		var sum float64
		for i, v := range x {
			nearest[i] = max(nearest[i], kernel.Dot(v, c))
			sum += 2 - 2*float64(nearest[i])
		}
		if len(centroids) == k {
			break
		}
		u := rng.Float64() * sum
		pick = x[len(x)-1]
		for i, v := range x {
			if u -= 2 - 2*float64(nearest[i]); u < 0 {
				pick = v
				break
			}
		}
	}
	of = make([]int, len(x))
	for range rounds {
		t.For(len(x), 256, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				best := float32(math.Inf(-1))
				for j, c := range centroids {
					if s := kernel.Dot(x[i], c); s > best {
						best, of[i] = s, j
					}
				}
			}
		})
		next := make([][]float32, k)
		for j := range next {
			next[j] = make([]float32, len(x[0]))
		}
		for i, v := range x {
			kernel.Add(next[of[i]], v)
		}
		for j, c := range next {
			if n := float32(math.Sqrt(float64(kernel.Dot(c, c)))); n > 0 {
				kernel.Scale(1/n, c)
				centroids[j] = c
			}
		}
	}
	return centroids, of
}
