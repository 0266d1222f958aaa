package pool

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Places that do lie in a plane keep their distances, subjects too.
func TestMapKeepsDistancesOfAPlane(t *testing.T) {
	p := sample(t)
	rng := rand.New(rand.NewPCG(5, 6))
	u, v := draw(rng, 32), draw(rng, 32)
	at := func(x, y float32) []float32 {
		d := make([]float32, 32)
		for i := range d {
			d[i] = x*u[i] + y*v[i]
		}
		return d
	}
	p.Members[0].Indicator, p.Members[2].Indicator = at(1, 0), at(0, 1)
	p.Coverage = []Cover{{"a", 3, at(1, 1)}, {"b", 4, at(-1, 0.5)}, {"b/x", 2, at(-1, 1)}}
	m, err := p.Map()
	require.NoError(t, err)
	require.InDelta(t, 1, m.Explained[0]+m.Explained[1], 1e-6)
	vectors := [][]float32{at(1, 0), at(0, 1), at(1, 1), at(-1, 0.5), at(-1, 1)}
	require.Len(t, m.Spots, 5)
	for i, a := range m.Spots {
		for j, b := range m.Spots {
			var want float64
			for d := range vectors[i] {
				want += math.Pow(float64(vectors[i][d]-vectors[j][d]), 2)
			}
			require.InDelta(t, math.Sqrt(want), math.Hypot(a.X-b.X, a.Y-b.Y), 1e-4)
		}
	}
	require.Equal(t, []string{AdapterSpot, AdapterSpot, SetSpot, SetSpot, SubjectSpot}, []string{m.Spots[0].Kind, m.Spots[1].Kind, m.Spots[2].Kind, m.Spots[3].Kind, m.Spots[4].Kind})
	again, err := p.Map()
	require.NoError(t, err)
	require.Equal(t, m, again)
}

func TestMapOfLittle(t *testing.T) {
	p := sample(t)
	p.Coverage = nil
	p.Members[0].Indicator = p.Members[2].Indicator
	m, err := p.Map()
	require.NoError(t, err)
	for _, s := range m.Spots {
		require.Zero(t, s.X)
		require.Zero(t, s.Y)
	}
}
