// Package half converts the two 16-bit float formats of model files to float32
// and back: IEEE 754 binary16 (F16) and bfloat16 (BF16).
package half

import "math"

// Float32 is the value of the binary16 bits h. NaN stays NaN.
func Float32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h>>10) & 0x1f
	frac := uint32(h & 0x3ff)
	switch exp {
	case 0: // zero or subnormal: frac * 2^-24, exact in float32
		f := float32(frac) * (1.0 / (1 << 24))
		return math.Float32frombits(math.Float32bits(f) | sign)
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | frac<<13)
	}
	return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
}

// Bits is f rounded to binary16, to nearest, ties to even. Values beyond the
// range become infinite; NaN stays NaN.
func Bits(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b>>16) & 0x8000
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00
	case b >= 0x477ff000: // 65520 and above round past the largest, 65504
		return sign | 0x7c00
	case b < 0x38800000: // below 2^-14: adding 0.5 rounds at the 2^-24 place
		sum := math.Float32frombits(b) + 0.5
		return sign | uint16(math.Float32bits(sum)-0x3f000000)
	}
	odd := (b >> 13) & 1
	b += 0xfff + odd
	return sign | uint16((b-(112<<23))>>13)
}

// Brain is the value of the bfloat16 bits h.
func Brain(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// Finite reports whether the binary16 bits h are neither NaN nor infinite.
func Finite(h uint16) bool { return h&0x7c00 != 0x7c00 }
