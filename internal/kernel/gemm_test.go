package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// product64 is Gemm in float64, with the sum of magnitudes for the tolerance.
func product64(transA, transB bool, i, j, k int, a []float32, lda int, b []float32, ldb int) (sum, size float64) {
	for p := range k {
		x, y := i*lda+p, p*ldb+j
		if transA {
			x = p*lda + i
		}
		if transB {
			y = j*ldb + p
		}
		v := float64(a[x]) * float64(b[y])
		sum += v
		size += math.Abs(v)
	}
	return sum, size
}

func TestGemm(t *testing.T) {
	team := NewTeam(2)
	defer team.Close()
	eachLevel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			dim := rapid.OneOf(rapid.IntRange(1, 9), rapid.IntRange(10, 70), rapid.IntRange(60, 270))
			m, n := dim.Draw(t, "m"), dim.Draw(t, "n")
			k := rapid.OneOf(rapid.IntRange(0, 9), rapid.IntRange(10, 100), rapid.IntRange(600, 700)).Draw(t, "k")
			transA, transB := rapid.Bool().Draw(t, "transA"), rapid.Bool().Draw(t, "transB")
			gap := rapid.IntRange(0, 3).Draw(t, "gap")
			alpha := rapid.SampledFrom([]float32{1, -0.5, 3, 0}).Draw(t, "alpha")
			beta := rapid.SampledFrom([]float32{0, 1, 0.25}).Draw(t, "beta")
			on := rapid.SampledFrom([]*Team{nil, team}).Draw(t, "team")
			r := seeded(t)
			size := func(trans bool, rows, cols int) (int, int) {
				if trans {
					rows, cols = cols, rows
				}
				ld := cols + gap
				return max(0, (rows-1)*ld+cols), ld
			}
			na, lda := size(transA, m, k)
			nb, ldb := size(transB, k, n)
			nc, ldc := size(false, m, n)
			a, b, c := random(r, na), random(r, nb), random(r, nc)
			if beta == 0 {
				for i := range c {
					c[i] = float32(math.NaN())
				}
			}
			old := slices.Clone(c)
			Gemm(on, transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
			for i := range c {
				if i%ldc >= n { // the gap between rows
					near(t, "gap", i, float64(c[i]), float64(old[i]), 0)
					continue
				}
				want, size := product64(transA, transB, i/ldc, i%ldc, k, a, lda, b, ldb)
				want *= float64(alpha)
				if beta != 0 {
					want += float64(beta) * float64(old[i])
				}
				near(t, "c", i, float64(c[i]), want, 1e-5*(1+size))
			}
		})
	})
}

// An element's bits are the same alone, in a large product, and on a team.
func TestGemmSameBits(t *testing.T) {
	team := NewTeam(3)
	defer team.Close()
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		const m, n, k = 150, 210, 700
		a, b := random(r, m*k), random(r, n*k)
		whole, shared, part := make([]float32, m*n), make([]float32, m*n), make([]float32, m*n)
		Gemm(nil, false, true, m, n, k, 1, a, k, b, k, 0, whole, n)
		Gemm(team, false, true, m, n, k, 1, a, k, b, k, 0, shared, n)
		for i := range m {
			Gemm(nil, false, true, 1, n, k, 1, a[i*k:], k, b, k, 0, part[i*n:], n)
		}
		if !slices.Equal(whole, shared) {
			t.Error("a team changes the bits")
		}
		if !slices.Equal(whole, part) {
			t.Error("the number of rows changes the bits")
		}
	})
}

func TestGemmFromManyGoroutines(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		const m, n, k = 70, 65, 130
		a, b := random(r, m*k), random(r, n*k)
		want := make([]float32, m*n)
		Gemm(nil, false, false, m, n, k, 1, a, k, b, n, 0, want, n)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 5 {
					c := make([]float32, m*n)
					Gemm(nil, false, false, m, n, k, 1, a, k, b, n, 0, c, n)
					if !slices.Equal(c, want) {
						t.Error("different bits")
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestGemmPanicsOnSmallSlices(t *testing.T) {
	for name, f := range map[string]func(){
		"a": func() {
			Gemm(nil, false, false, 2, 2, 2, 1, make([]float32, 3), 2, make([]float32, 4), 2, 0, make([]float32, 4), 2)
		},
		"b": func() {
			Gemm(nil, false, false, 2, 2, 2, 1, make([]float32, 4), 2, make([]float32, 3), 2, 0, make([]float32, 4), 2)
		},
		"c": func() {
			Gemm(nil, false, false, 2, 2, 2, 1, make([]float32, 4), 2, make([]float32, 4), 2, 0, make([]float32, 3), 2)
		},
		"lda": func() {
			Gemm(nil, false, false, 2, 2, 2, 1, make([]float32, 4), 1, make([]float32, 4), 2, 0, make([]float32, 4), 2)
		},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func BenchmarkGemm(b *testing.B) {
	team := NewTeam(0)
	defer team.Close()
	for _, s := range []struct {
		transA, transB bool
		m, n, k        int
	}{
		{false, true, 512, 576, 576},
		{false, true, 512, 1536, 576},
		{false, false, 512, 576, 1536},
		{true, false, 1536, 576, 512},
		{false, true, 2048, 1536, 576},
		{false, true, 512, 16, 576},
		{false, true, 512, 80, 576},
		{false, false, 512, 576, 16},
		{true, false, 16, 576, 512},
		{false, true, 256, 256, 64},
		{false, false, 256, 64, 256},
		{false, true, 1, 576, 576},
	} {
		for _, threads := range []int{1, team.Threads()} {
			on := team
			if threads == 1 {
				on = nil
			}
			name := fmt.Sprintf("%dx%dx%d/%s%s/threads=%d", s.m, s.n, s.k, letter(s.transA), letter(s.transB), threads)
			b.Run(name, func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 1))
				x, y, z := random(r, s.m*s.k), random(r, s.n*s.k), make([]float32, s.m*s.n)
				lda, ldb := s.k, s.n
				if s.transA {
					lda = s.m
				}
				if s.transB {
					ldb = s.k
				}
				b.ReportAllocs()
				least := fastest(b, func() {
					Gemm(on, s.transA, s.transB, s.m, s.n, s.k, 1, x, lda, y, ldb, 0, z, s.n)
				})
				b.ReportMetric(2*float64(s.m)*float64(s.n)*float64(s.k)/least/1e9, "GFLOP/s")
			})
		}
	}
}

func letter(trans bool) string {
	if trans {
		return "T"
	}
	return "N"
}
