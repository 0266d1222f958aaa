package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// levels are those this machine has.
func levels() []Level {
	var l []Level
	for i := Plain; i <= Best(); i++ {
		l = append(l, i)
	}
	return l
}

// eachLevel runs f as a subtest at each level, and puts the level back.
func eachLevel(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	for _, l := range levels() {
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
