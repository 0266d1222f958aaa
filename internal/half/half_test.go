package half

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// value reads binary16 bits by the definition of the format.
func value(h uint16) float64 {
	sign := 1.0
	if h>>15 == 1 {
		sign = -1
	}
	exp, frac := int(h>>10)&31, float64(h&1023)
	switch exp {
	case 0:
		return sign * math.Ldexp(frac, -24)
	case 31:
		if frac != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+frac, exp-25)
}

func TestEveryBitPattern(t *testing.T) {
	for i := 0; i < 1<<16; i++ {
		h := uint16(i)
		want, got := value(h), float64(Float32(h))
		if math.IsNaN(want) {
			if !math.IsNaN(got) || !math.IsNaN(float64(Float32(Bits(Float32(h))))) {
				t.Fatalf("%#04x: NaN became %v", h, got)
			}
			continue
		}
		if math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%#04x: got %v, want %v", h, got, want)
		}
		if back := Bits(Float32(h)); back != h {
			t.Fatalf("%#04x came back as %#04x", h, back)
		}
		if Finite(h) == (math.IsInf(want, 0)) {
			t.Fatalf("%#04x: Finite is %v", h, Finite(h))
		}
	}
}

// Bits must give the nearest of the neighbouring values, the even one at a tie.
func TestBitsRoundsToNearestEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := math.Float32frombits(rapid.Uint32().Draw(t, "bits"))
		if f != f {
			t.Skip("NaN")
		}
		if rapid.Bool().Draw(t, "near") { // between two neighbours, often exactly half-way
			h := rapid.Uint16Max(0x7bfe).Draw(t, "half")
			f = (Float32(h) + Float32(h+1)) / 2
		}
		h := Bits(f)
		if math.Abs(float64(f)) >= 65520 {
			if !math.IsInf(value(h), 0) {
				t.Fatalf("%v did not overflow: %#04x", f, h)
			}
			return
		}
		miss := math.Abs(value(h) - float64(f))
		for _, n := range []uint16{h - 1, h + 1} {
			if !Finite(n) || n>>15 != h>>15 {
				continue
			}
			other := math.Abs(value(n) - float64(f))
			if other < miss || other == miss && h&1 == 1 {
				t.Fatalf("%v became %#04x (%v), nearer or even is %#04x (%v)", f, h, value(h), n, value(n))
			}
		}
	})
}
