package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/half"
)

// attention is a random case: queries, keys in panels, weights and values.
type attention struct {
	rows, width, n, stride, step int
	q, p                         []float32
	keys, values                 []uint16
	key                          [][]float32 // as rounded
}

func drawAttention(t *rapid.T) attention {
	c := attention{
		rows:  rapid.IntRange(1, 20).Draw(t, "rows"),
		width: rapid.SampledFrom([]int{1, 8, 16, 24, 32, 48, 64, 80, 128}).Draw(t, "width"),
		n:     rapid.IntRange(1, 130).Draw(t, "n"),
	}
	r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	panels := (c.n + KeyLanes - 1) / KeyLanes
	c.stride = panels*KeyLanes + rapid.IntRange(0, 5).Draw(t, "gap")
	heads := rapid.IntRange(1, 3).Draw(t, "heads")
	c.step = heads * c.width
	fill := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(r.NormFloat64())
		}
		return v
	}
	c.q, c.p = fill(c.rows*c.width), fill(c.rows*c.stride)
	c.keys, c.values = make([]uint16, panels*KeyLanes*c.step), make([]uint16, c.n*c.step)
	for i := range c.keys {
		c.keys[i] = 0x7e00 // NaN, wherever no key lies
	}
	ToHalf(c.values, fill(len(c.values)))
	tmp := make([]uint16, c.width)
	for i := range c.n {
		key := fill(c.width)
		PutKey(c.keys, c.step*KeyLanes, i, key, tmp)
		for d := range key {
			key[d] = half.Float32(half.Bits(key[d]))
		}
		c.key = append(c.key, key)
	}
	return c
}

// TestAttend holds ScoreKeys and SumValues to sums in float64, and their bits
// to what may not matter: the other rows, and where a sequence is cut.
func TestAttend(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			c := drawAttention(t)
			scores := make([]float32, c.rows*c.stride+KeyLanes)
			ScoreKeys(scores, c.stride, c.q, c.rows, c.width, c.keys, c.step*KeyLanes, c.n)
			sums := make([]float32, c.rows*c.width)
			SumValues(sums, c.rows, c.width, c.p, c.stride, c.values, c.step, c.n)
			alone := make([]float32, c.stride+KeyLanes)
			sum := make([]float32, c.width)
			cut := rapid.IntRange(0, c.n).Draw(t, "cut")
			for r := range c.rows {
				ScoreKeys(alone, c.stride, c.q[r*c.width:], 1, c.width, c.keys, c.step*KeyLanes, c.n)
				require.Equal(t, alone[:c.n], scores[r*c.stride:][:c.n])
				for i, key := range c.key {
					var want, size float64
					for d, k := range key {
						x := float64(k) * float64(c.q[r*c.width+d])
						want, size = want+x, size+math.Abs(x)
					}
					require.InDelta(t, want, scores[r*c.stride+i], 1e-5*size+1e-6)
				}
				clear(sum)
				SumValues(sum, 1, c.width, c.p[r*c.stride:], c.stride, c.values, c.step, cut)
				if cut < c.n {
					SumValues(sum, 1, c.width, c.p[r*c.stride+cut:], c.stride, c.values[cut*c.step:], c.step, c.n-cut)
				}
				require.Equal(t, sum, sums[r*c.width:][:c.width])
				for d := range c.width {
					var want, size float64
					for i := range c.n {
						x := float64(c.p[r*c.stride+i]) * float64(half.Float32(c.values[i*c.step+d]))
						want, size = want+x, size+math.Abs(x)
					}
					require.InDelta(t, want, sum[d], 1e-5*size+1e-6)
				}
			}
		})
	})
}

func TestAttendRefusesWhatIsTooSmall(t *testing.T) {
	require.Panics(t, func() { ScoreKeys(make([]float32, 15), 16, make([]float32, 4), 1, 4, make([]uint16, 64), 64, 3) })
	require.Panics(t, func() { SumValues(make([]float32, 4), 1, 4, make([]float32, 2), 2, make([]uint16, 12), 4, 3) })
}
