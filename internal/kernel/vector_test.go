package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"crayon/internal/half"

	"pgregory.net/rapid"
)

// values draws a slice of any length to 200, of ordinary, tiny, huge or mixed
// values.
func values(t *rapid.T, name string) []float32 {
	return valuesOf(t, name, rapid.OneOf(rapid.IntRange(0, 40), rapid.IntRange(41, 200)).Draw(t, name+" length"))
}

func valuesOf(t *rapid.T, name string, n int) []float32 {
	r := seeded(t)
	x := random(r, n)
	scale := rapid.SampledFrom([]float32{1, 20, 1e-42, 1e18, 0}).Draw(t, name+" scale")
	for i := range x {
		x[i] *= scale
	}
	return x
}

func TestElementwise(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			a := values(t, "a")
			n := len(a)
			b, c := valuesOf(t, "b", n), valuesOf(t, "c", n)
			alpha := rapid.Float32Range(-3, 3).Draw(t, "alpha")
			compare := func(name string, got []float32, want func(i int) float64) {
				for i, v := range got {
					w := want(i)
					near(t, name, i, float64(v), w, 3e-7*(math.Abs(w)+math.Abs(float64(c[i])))+2e-45)
				}
			}
			y := slices.Clone(c)
			Axpy(alpha, a, y)
			compare("axpy", y, func(i int) float64 { return float64(alpha)*float64(a[i]) + float64(c[i]) })
			y = slices.Clone(c)
			Add(y, a)
			compare("add", y, func(i int) float64 { return float64(a[i]) + float64(c[i]) })
			y = make([]float32, n)
			Mul(y, a, b)
			compare("mul", y, func(i int) float64 { return float64(float32(float64(a[i]) * float64(b[i]))) })
			y = slices.Clone(a)
			Scale(alpha, y)
			compare("scale", y, func(i int) float64 { return float64(alpha) * float64(a[i]) })
		})
	})
}

func TestDot(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			a := values(t, "a")
			b := valuesOf(t, "b", len(a))
			var want, size float64
			for i := range a {
				want += float64(a[i]) * float64(b[i])
				size += math.Abs(float64(a[i]) * float64(b[i]))
			}
			near(t, "dot", 0, float64(Dot(a, b)), want, 1e-6*size+1e-43*float64(len(a)))
		})
	})
}

// Relative error over every range, against float64.
func TestExp(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 1))
		x := make([]float32, 1<<17)
		for i := range x {
			x[i] = -87.3 + 176*r.Float32()
			if i%4 == 0 {
				x[i] = 2 * (r.Float32() - 0.5)
			}
		}
		y := make([]float32, len(x))
		Exp(y, x)
		var worst float64
		for i, v := range y {
			want := math.Exp(float64(x[i]))
			if want > math.MaxFloat32 {
				if !math.IsInf(float64(v), 1) {
					t.Fatalf("exp(%g) = %g, want +Inf", x[i], v)
				}
				continue
			}
			worst = max(worst, math.Abs(float64(v)/want-1))
		}
		t.Logf("largest relative error %.3g", worst)
		if worst > 2e-7 {
			t.Errorf("relative error %g", worst)
		}
	})
}

func TestExpAtTheEnds(t *testing.T) {
	inf := float32(math.Inf(1))
	eachLevel(t, func(t *testing.T) {
		// Once in a vector and once as a tail.
		for _, n := range []int{16, 5} {
			for _, c := range []struct{ x, low, high float32 }{
				{-inf, 0, 0}, {inf, inf, inf}, {-1e30, 0, 0}, {1e30, inf, inf}, {0, 1, 1}, {float32(math.Copysign(0, -1)), 1, 1},
				{-88, 6.0e-39, 6.1e-39}, {-100, 3.6e-44, 3.9e-44}, {-105, 0, 0}, {88.7, 3.3e38, 3.4e38}, {89, inf, inf},
				{1e-42, 1, 1},
			} {
				x := make([]float32, n)
				x[n-1] = c.x
				Exp(x, x)
				if got := x[n-1]; got < c.low || got > c.high {
					t.Errorf("exp(%g) = %g, want %g..%g", c.x, got, c.low, c.high)
				}
			}
			x := make([]float32, n)
			x[0] = float32(math.NaN())
			Exp(x, x)
			if x[0] == x[0] {
				t.Errorf("exp(NaN) = %g", x[0])
			}
		}
	})
}

func TestSoftmaxAndLogSumExp(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			x := values(t, "x")
			if len(x) > 2 && rapid.Bool().Draw(t, "masked") {
				x[1] = float32(math.Inf(-1))
			}
			if len(x) == 0 {
				if v := LogSumExp(x); !math.IsInf(float64(v), -1) {
					t.Fatalf("of nothing: %g", v)
				}
				Softmax(x)
				return
			}
			var sum float64
			top := float64(plainMax(x))
			for _, v := range x {
				sum += math.Exp(float64(v) - top)
			}
			want := top + math.Log(sum)
			near(t, "logsumexp", 0, float64(LogSumExp(x)), want, 2e-6+2e-7*math.Abs(want))
			p := slices.Clone(x)
			Softmax(p)
			for i, v := range p {
				near(t, "softmax", i, float64(v), math.Exp(float64(x[i])-top)/sum, 1e-6)
			}
		})
	})
}

func TestMaxIndex(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		if i := MaxIndex(nil); i != -1 {
			t.Errorf("of nothing: %d", i)
		}
		special := []float32{float32(math.NaN()), float32(math.Inf(-1)), float32(math.Inf(1)), 0, 5, -1}
		rapid.Check(t, func(t *rapid.T) {
			x := rapid.SliceOfN(rapid.SampledFrom(special), 1, 70).Draw(t, "x")
			if want := plainIndex(x, plainMax(x)); MaxIndex(x) != want {
				t.Fatalf("%d, want %d", MaxIndex(x), want)
			}
			y := valuesOf(t, "y", len(x))
			if want := plainIndex(y, plainMax(y)); MaxIndex(y) != want || Max(y) != y[want] {
				t.Fatalf("%d, want %d", MaxIndex(y), want)
			}
		})
	})
}

func TestRMSNorm(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			n := rapid.IntRange(0, 150).Draw(t, "n")
			r := seeded(t)
			x, w, y := random(r, n), random(r, n), make([]float32, n)
			scale := rapid.SampledFrom([]float32{1, 1e-3, 1e6, 0}).Draw(t, "scale")
			var square float64
			for i := range x {
				x[i] *= scale
				square += float64(x[i]) * float64(x[i])
			}
			RMSNorm(y, x, w, 1e-5)
			for i, v := range y {
				want := float64(x[i]) * float64(w[i]) / math.Sqrt(square/float64(n)+1e-5)
				near(t, "norm", i, float64(v), want, 2e-6*math.Abs(want))
			}
		})
	})
}

func TestSiLUMul(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			g := values(t, "gate")
			u, y := valuesOf(t, "up", len(g)), make([]float32, len(g))
			SiLUMul(y, g, u)
			for i, v := range y {
				s := float64(g[i]) / (1 + math.Exp(-float64(g[i])))
				want := s * float64(u[i])
				// Below the normal numbers, and above the largest, only the
				// magnitude is kept.
				if math.Abs(s) < 1e-37 || math.Abs(want) < 1e-37 || math.Abs(want) > 3e38 {
					continue
				}
				near(t, "silu", i, float64(v), want, 1e-6*math.Abs(want))
			}
		})
	})
}

func TestRope(t *testing.T) {
	eachLevel(t, func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) {
			h := rapid.IntRange(0, 70).Draw(t, "half")
			halves := rapid.Bool().Draw(t, "halves")
			r := seeded(t)
			x := random(r, 2*h)
			y := slices.Clone(x)
			cos, sin := make([]float32, h), make([]float32, h)
			for i := range cos {
				s, c := math.Sincos(10 * r.Float64())
				cos[i], sin[i] = float32(c), float32(s)
			}
			Rope(y, cos, sin, halves)
			for i := range h {
				a, b := 2*i, 2*i+1
				if halves {
					a, b = i, i+h
				}
				want := complex(float64(x[a]), float64(x[b])) * complex(float64(cos[i]), float64(sin[i]))
				near(t, "rope", a, float64(y[a]), real(want), 1e-6)
				near(t, "rope", b, float64(y[b]), imag(want), 1e-6)
			}
		})
	})
}

func TestHalf(t *testing.T) {
	// Every number there and back, and the conversions of the levels.
	all := make([]uint16, 1<<16)
	for i := range all {
		all[i] = uint16(i)
	}
	eachLevel(t, func(t *testing.T) {
		wide, back := make([]float32, len(all)), make([]uint16, len(all))
		FromHalf(wide, all)
		ToHalf(back, wide)
		for i, h := range all {
			if f := float64(wide[i]); math.IsNaN(f) {
				if !math.IsNaN(float64(half.Float32(h))) || back[i]&0x7c00 != 0x7c00 || back[i]&0x3ff == 0 {
					t.Fatalf("%04x: NaN there, %04x back", h, back[i])
				}
				continue
			}
			if wide[i] != half.Float32(h) || back[i] != h {
				t.Fatalf("%04x: %g, %04x back", h, wide[i], back[i])
			}
		}
		rapid.Check(t, func(t *rapid.T) {
			x := rapid.SliceOfN(rapid.Float32(), 1, 40).Draw(t, "x")
			for i := range x {
				if rapid.Bool().Draw(t, "small") {
					x[i] = float32(math.Mod(float64(x[i]), 70000))
				}
			}
			got := make([]uint16, len(x))
			ToHalf(got, x)
			for i, v := range x {
				if want := half.Bits(v); got[i] != want {
					t.Fatalf("half of %g: %04x, want %04x", v, got[i], want)
				}
			}
		})
	})
}

func BenchmarkVector(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	x, y, z := random(r, 1536), random(r, 1536), make([]float32, 1536)
	logits := random(r, 49152)
	keys := random(r, 512*64)
	short := make([]uint16, len(keys))
	ToHalf(short, keys)
	s := make([]float32, 512)
	q := x[:64]
	var a Acts
	for _, l := range Levels() {
		use(b, l)
		for _, c := range []struct {
			name string
			n    int
			f    func()
		}{
			{"Dot", 1536, func() { Dot(x, y) }},
			{"Add", 1536, func() { Add(z, x) }},
			{"RMSNorm", 1536, func() { RMSNorm(z, x, y, 1e-5) }},
			{"SiLUMul", 1536, func() { SiLUMul(z, x, y) }},
			{"Softmax", 512, func() { Softmax(s) }},
			{"LogSumExp", 49152, func() { LogSumExp(logits) }},
			{"MaxIndex", 49152, func() { MaxIndex(logits) }},
			{"RopePairs", 64, func() { Rope(z[:64], x[:32], y[:32], false) }},
			{"ScoreKeys", 512 * 64, func() { ScoreKeys(s, 512, q, 1, 64, short, 64*KeyLanes, 512) }},
			{"SumValues", 512 * 64, func() { SumValues(z[:64], 1, 64, s, 512, short, 64, 512) }},
			{"Quantise", 1536, func() { a.Set(nil, x, 1, 1536); a.quantise(nil) }},
		} {
			b.Run(fmt.Sprintf("%s/%v", c.name, l), func(b *testing.B) {
				for b.Loop() {
					c.f()
				}
				b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/float64(c.n), "ns/value")
			})
		}
	}
}
