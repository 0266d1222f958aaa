package pool

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/gguf"
)

// members are the sample's adapters, each by itself.
func (p *Pool) alone(i int) *adapter.Adapter {
	w := make([]float32, len(p.Members))
	w[i] = 1
	s, weights := p.Stack.Keep(w)
	return s.Merge(weights, p.Members[i].Name)
}

// Norms, cosines and singular values are those of the dense products.
func TestHealthIsThatOfTheDenseProducts(t *testing.T) {
	p := sample(t)
	h, err := p.Health()
	require.NoError(t, err)
	n := len(p.Members)
	dense := make([][]float64, n)
	for i := range n {
		a := p.alone(i)
		var rank, weight float64
		for s := range arch.Slot(p.Base.Shape.Slots()) {
			d := a.Dense(s)
			values := make([]float64, len(d))
			var norm float64
			for k, x := range d {
				values[k] = float64(x)
				norm += float64(x) * float64(x)
			}
			dense[i] = append(dense[i], values...)
			out, in := p.Base.Shape.Shape(s.Kind())
			var svd mat.SVD
			require.True(t, svd.Factorize(mat.NewDense(out, in, values), mat.SVDNone))
			var total, entropy float64
			for _, v := range svd.Values(nil)[:p.Members[i].Rank] {
				total += v
			}
			for _, v := range svd.Values(nil)[:p.Members[i].Rank] {
				entropy -= v / total * math.Log(v/total)
			}
			rank, weight = rank+norm*math.Exp(entropy), weight+norm
		}
		require.InDelta(t, rank/weight, h.Members[i].EffectiveRank, 1e-4, p.Members[i].Name)
	}
	dot := func(a, b []float64) (s float64) {
		for i := range a {
			s += a[i] * b[i]
		}
		return s
	}
	for i := range n {
		require.InEpsilon(t, math.Sqrt(dot(dense[i], dense[i])), h.Members[i].Norm, 1e-4)
		for j := range n {
			require.InDelta(t, dot(dense[i], dense[j])/math.Sqrt(dot(dense[i], dense[i])*dot(dense[j], dense[j])), h.Cosine[i][j], 1e-4)
		}
	}
	require.Empty(t, h.Dead)
	require.Equal(t, [2]string{"red", "blue"}, h.Alike)
	require.InDelta(t, math.Abs(h.Cosine[0][2]), h.Redundancy, 1e-12)
	require.InDelta(t, 4/(2+2*h.Redundancy*h.Redundancy), h.Effective, 1e-9)
}

// scale multiplies a member's columns of B.
func (p *Pool) scale(i int, by float32) {
	for _, pair := range p.Stack.Pairs {
		for o := range pair.Out {
			for r, k := range p.Stack.Owner {
				if k == i {
					pair.B[o*pair.Rank+r] *= by
				}
			}
		}
	}
}

func TestHealthFindsTheDead(t *testing.T) {
	for _, x := range []struct {
		spoil func(*Pool)
		says  string
	}{
		{func(p *Pool) { p.scale(2, 0) }, "zero"},
		{func(p *Pool) { p.scale(2, 0.01) }, "of the mean"},
		{func(p *Pool) { p.Members[2].Examples = 0 }, "no training example"},
	} {
		p := sample(t)
		x.spoil(p)
		h, err := p.Health()
		require.NoError(t, err)
		require.Equal(t, []string{"blue"}, h.Dead)
		require.Contains(t, h.Members[2].Dead, x.says)
	}
	// Two copies are as good as one.
	p := sample(t)
	for _, pair := range p.Stack.Pairs {
		copy(pair.A[3*pair.In:], pair.A[:pair.In])
		for o := range pair.Out {
			pair.B[o*4+3] = 2 * pair.B[o*4]
		}
	}
	h, err := p.Health()
	require.NoError(t, err)
	require.InDelta(t, 1, h.Redundancy, 1e-6)
	require.InDelta(t, 1, h.Effective, 1e-6)
}

// Fewer bits cost more, and the file says how much.
func TestStoreError(t *testing.T) {
	p := sample(t)
	last := -1.0
	for _, kind := range []gguf.Type{gguf.F32, gguf.F16, gguf.Q8_0, gguf.Q5_0, gguf.Q4_0} {
		stored, _, err := p.stored(kind)
		require.NoError(t, err)
		require.Equal(t, kind.String(), stored.Made.Store)
		require.Greater(t, stored.Made.StoreError, last, kind)
		last = stored.Made.StoreError
		var miss, whole float64
		for i := range p.Members {
			a, b := p.alone(i), stored.alone(i)
			for s := range p.Stack.Pairs {
				x, y := a.Dense(s), b.Dense(s)
				for k := range x {
					miss += float64(x[k]-y[k]) * float64(x[k]-y[k])
					whole += float64(x[k]) * float64(x[k])
				}
			}
		}
		require.InDelta(t, math.Sqrt(miss/whole), last, 1e-4)
	}
}
