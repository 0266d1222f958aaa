package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// eachLevel runs f as a subtest at each level, and puts the level back.
func eachLevel(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	for _, l := range Levels() {
		t.Run(l.String(), func(t *testing.T) {
			use(t, l)
			f(t)
		})
	}
}

func use(t testing.TB, l Level) {
	t.Helper()
	old := Current()
	if err := Use(l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Use(old); err != nil {
			t.Error(err)
		}
	})
}

// random returns n values of a normal distribution.
func random(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func seeded(t *rapid.T) *rand.Rand {
	return rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
}

// near fails unless got is within tol of want; both NaN is near.
func near(t rapid.TB, what string, i int, got, want, tol float64) {
	t.Helper()
	if math.IsNaN(got) && math.IsNaN(want) || got == want {
		return
	}
	if !(math.Abs(got-want) <= tol) {
		t.Fatalf("%s[%d] = %g, want %g (off by %g, allowed %g)", what, i, got, want, got-want, tol)
	}
}

// fastest runs f for the benchmark and returns the seconds of the fastest run:
// on a machine with other work, the mean says more of that than of f.
func fastest(b *testing.B, f func()) float64 {
	b.Helper()
	f()
	least := time.Hour
	for b.Loop() {
		begin := time.Now()
		f()
		least = min(least, time.Since(begin))
	}
	return least.Seconds()
}

func BenchmarkPeak(b *testing.B) {
	team := NewTeam(0)
	defer team.Close()
	buf := make([]byte, 1<<28)
	for i := range buf {
		buf[i] = byte(i)
	}
	for _, threads := range []int{1, team.Threads()} {
		on := team
		if threads == 1 {
			on = nil
		}
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			var top Rates
			for b.Loop() {
				r := Measure(on, 200*time.Millisecond, buf)
				top.Float, top.Int8, top.Read = max(top.Float, r.Float), max(top.Int8, r.Int8), max(top.Read, r.Read)
			}
			b.ReportMetric(top.Float/1e9, "GFLOP/s")
			b.ReportMetric(top.Int8/1e9, "GOP/s")
			b.ReportMetric(top.Read/1e9, "GB/s")
		})
	}
}
