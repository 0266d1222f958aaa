package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// eight packs a matrix of normal values to 8 bits.
func eight(t *Team, r *rand.Rand, rows, cols int) *Matrix {
	seed := r.Uint64()
	return Pack8(t, rows, cols, func(row, block int, b *Block) {
		r := rand.New(rand.NewPCG(seed, uint64(row*cols+block)))
		b.D, b.M = 1.0/1024, -128.0/1024
		for i := range b.Q {
			b.Q[i] = uint8(r.UintN(256))
		}
	})
}

// TestLow: the products of several jobs with their low-rank parts, at once, are
// what the products one after the other come to; and a row's bits are the same
// alone and among others, with any team.
func TestLow(t *testing.T) {
	teams := []*Team{nil, NewTeam(2), NewTeam(5)}
	defer func() {
		for _, team := range teams {
			team.Close()
		}
	}()
	eachLevel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			team := rapid.SampledFrom(teams).Draw(t, "team")
			r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
			n := rapid.IntRange(1, 2*tileRows+3).Draw(t, "n")
			cols := 32 * rapid.IntRange(1, 4).Draw(t, "blocks")
			rank := 32 * rapid.IntRange(1, 2).Draw(t, "rank")
			x := random(r, n*cols)
			weights := make([][]float32, n)
			for i := range weights {
				if i%3 != 1 {
					weights[i] = random(r, rank-rapid.IntRange(0, 3).Draw(t, "short"))
				}
			}
			var acts Acts
			var jobs []Job
			for range rapid.IntRange(1, 3).Draw(t, "jobs") {
				rows := rapid.IntRange(1, 70).Draw(t, "rows")
				j := Job{W: eight(nil, r, rows, cols), Dst: random(r, n*(rows+3)), Stride: rows + 3, Add: r.IntN(2) == 0}
				if rapid.IntRange(0, 3).Draw(t, "adapted") > 0 {
					j.Low = &Low{A: eight(nil, r, rank-rapid.IntRange(0, 31).Draw(t, "unused"), cols), B: eight(nil, r, rows, rank), Weights: weights}
				}
				jobs = append(jobs, j)
			}
			// One after the other, row by row.
			var want [][]float32
			for _, j := range jobs {
				dst := append([]float32(nil), j.Dst...)
				for i := range n {
					acts.Set(nil, x[i*cols:], 1, cols)
					one := Job{W: j.W, Dst: dst[i*j.Stride:], Stride: j.Stride, Add: j.Add}
					MatMul(nil, &acts, one)
					if j.Low == nil {
						continue
					}
					z := make([]float32, rank)
					MatMul(nil, &acts, Job{W: j.Low.A, Dst: z, Stride: rank})
					w := weights[i]
					for k := range z {
						if k < len(w) {
							z[k] *= w[k]
						} else {
							z[k] = 0
						}
					}
					var inner Acts
					inner.Set(nil, z, 1, rank)
					MatMul(nil, &inner, Job{W: j.Low.B, Dst: one.Dst, Stride: j.Stride, Add: true})
				}
				want = append(want, dst)
			}
			acts.Set(team, x, n, cols)
			MatMul(team, &acts, jobs...)
			for i, j := range jobs {
				for k := range j.Dst {
					require.Equal(t, math.Float32bits(want[i][k]), math.Float32bits(j.Dst[k]), "job %d, value %d", i, k)
				}
			}
		})
	})
}

func TestLowOfAnotherShape(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var acts Acts
	acts.Set(nil, random(r, 64), 1, 64)
	w := eight(nil, r, 16, 64)
	a, b := eight(nil, r, 48, 64), eight(nil, r, 16, 32)
	require.Panics(t, func() {
		MatMul(nil, &acts, Job{W: w, Dst: make([]float32, 16), Stride: 16, Low: &Low{A: a, B: b, Weights: make([][]float32, 1)}})
	})
}
