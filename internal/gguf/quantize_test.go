package gguf

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// blockValues draws values of one magnitude, some of them special.
func blockValues(t *rapid.T, n int) []float32 {
	scale := math.Pow(10, rapid.Float64Range(-9, 3).Draw(t, "magnitude"))
	shift := rapid.SampledFrom([]float64{0, 0, 1, -1, 10}).Draw(t, "shift")
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(scale * (rapid.Float64Range(-1, 1).Draw(t, "v") + shift))
	}
	if rapid.Bool().Draw(t, "zeros") {
		clear(v[:n/2])
	}
	return v
}

// The bounds are those Quantize states; f16 rounds to 2^-11 of its value, and
// to steps of 2^-24 near zero, which a level multiplies.
func TestQuantizeErrorBounds(t *testing.T) {
	const f16, tiny = 1.0 / 2048, 1.0 / (1 << 24)
	bounds := map[Type]func(top, lo, hi float64) float64{
		F32:  func(top, lo, hi float64) float64 { return 0 },
		F16:  func(top, lo, hi float64) float64 { return top*f16 + tiny },
		Q8_0: func(top, lo, hi float64) float64 { return top/254 + top*f16 + tiny },
		Q4_0: func(top, lo, hi float64) float64 { return top/8 + top*f16 + tiny },
		Q5_0: func(top, lo, hi float64) float64 { return top/16 + top*f16 + tiny },
		Q4_1: func(top, lo, hi float64) float64 {
			return (hi-lo)/30 + (hi-lo)*f16 + math.Abs(lo)*f16*1.1 + 2*tiny
		},
	}
	for kind, bound := range bounds {
		t.Run(kind.String(), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				src := blockValues(t, 64)
				data, err := Quantize(kind, src)
				require.NoError(t, err)
				got := make([]float32, len(src))
				require.NoError(t, Dequantize(kind, data, got))
				for first := 0; first < len(src); first += 32 {
					block := src[first : first+32]
					lo, hi := math.Inf(1), math.Inf(-1)
					for _, v := range block {
						lo, hi = min(lo, float64(v)), max(hi, float64(v))
					}
					top := max(hi, -lo)
					for i, v := range block {
						limit := bound(top, lo, hi)
						if kind == F16 {
							limit = bound(math.Abs(float64(v)), lo, hi)
						}
						if miss := math.Abs(float64(got[first+i]) - float64(v)); miss > limit*(1+1e-6) {
							t.Fatalf("%v became %v: off by %g, at most %g allowed (block %g to %g)", v, got[first+i], miss, limit, lo, hi)
						}
					}
				}
			})
		})
	}
}

// What was quantised once is kept by a second quantisation of the same type.
func TestQuantizeKeepsItsOwnValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := blockValues(t, 32)
		data, err := Quantize(Q8_0, src)
		require.NoError(t, err)
		once, twice := make([]float32, 32), make([]float32, 32)
		require.NoError(t, Dequantize(Q8_0, data, once))
		again, err := Quantize(Q8_0, once)
		require.NoError(t, err)
		require.NoError(t, Dequantize(Q8_0, again, twice))
		for i := range once {
			require.InDelta(t, once[i], twice[i], math.Abs(float64(extreme(once)))/1000+127.0/(1<<24))
		}
	})
}

func TestQuantizeRefuses(t *testing.T) {
	block := func(v float32) []float32 {
		b := make([]float32, 32)
		b[31] = v
		return b
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for name, c := range map[string]struct {
		kind Type
		src  []float32
		want string
	}{
		"nan":          {Q8_0, block(nan), "value 31 is NaN"},
		"nan f32":      {F32, block(nan), "value 31 is NaN"},
		"infinite":     {Q4_0, block(inf), "value 31 is -Inf"},
		"part block":   {Q4_0, make([]float32, 33), "not whole blocks of 32"},
		"k quant":      {Q4_K, make([]float32, 256), "quantize to Q4_K: the type is not written"},
		"unknown":      {99, nil, "type 99"},
		"f16 overflow": {F16, block(70000), "too large for an F16"},
		"q8 overflow":  {Q8_0, block(1e7), "too large for an F16"},
		"q41 overflow": {Q4_1, block(-70000), "too large for an F16"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Quantize(c.kind, c.src)
			require.ErrorContains(t, err, c.want)
		})
	}
	require.Error(t, Dequantize(Q8_0, make([]byte, 34), make([]float32, 31)))
	require.Error(t, Dequantize(Q8_0, make([]byte, 33), make([]float32, 32)))
	require.Error(t, Dequantize(30, make([]byte, 2), make([]float32, 1)))
}

func BenchmarkDequantize(b *testing.B) {
	for _, kind := range []Type{F16, Q4_0, Q4_1, Q5_0, Q8_0, Q4_K, Q6_K} {
		values, bytes := kind.Block()
		n := 1 << 20 / values
		src, dst := make([]byte, n*bytes), make([]float32, n*values)
		b.Run(kind.String(), func(b *testing.B) {
			b.SetBytes(int64(4 * len(dst)))
			for b.Loop() {
				dequantize(kind, src, dst)
			}
		})
	}
}

func BenchmarkQuantize(b *testing.B) {
	src := make([]float32, 1<<18)
	for i := range src {
		src[i] = float32(math.Sin(float64(i)))
	}
	for _, kind := range []Type{F16, Q4_0, Q4_1, Q5_0, Q8_0} {
		b.Run(kind.String(), func(b *testing.B) {
			b.SetBytes(int64(4 * len(src)))
			for b.Loop() {
				if _, err := Quantize(kind, src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
