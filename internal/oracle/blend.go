package oracle

import (
	"fmt"
	"math"
	"math/rand/v2"

	"crayon/internal/adapter"
	"crayon/internal/arch"
)

// RandomAdapters makes n adapters of one rank on every linear layer, the same
// for the same seed. A is normal with variance 1/In, so that A x has the size
// of x; B is normal with the given standard deviation.
func RandomAdapters(c arch.Config, n, rank int, seed uint64, std float64) []*adapter.Adapter {
	all := make([]*adapter.Adapter, n)
	for k := range all {
		r := rand.New(rand.NewPCG(seed, uint64(k)))
		a := &adapter.Adapter{Name: fmt.Sprintf("random-%d", k), Scale: 1, Pairs: make(map[arch.Slot]*adapter.Pair, c.Slots())}
		for slot := arch.Slot(0); int(slot) < c.Slots(); slot++ {
			out, in := c.Shape(slot.Kind())
			a.Pairs[slot] = &adapter.Pair{
				Rank: rank, In: in, Out: out,
				A: normal(r, rank*in, 1/math.Sqrt(float64(in))),
				B: normal(r, out*rank, std),
			}
		}
		all[k] = a
	}
	return all
}

func normal(r *rand.Rand, n int, std float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(r.NormFloat64() * std)
	}
	return v
}
