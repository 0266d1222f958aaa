package kernel

import "math"

// HalfToFloat returns the value of an IEEE 754 half-precision number.
func HalfToFloat(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	e, m := uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch {
	case e == 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | m<<13)
	case e != 0:
		return math.Float32frombits(sign | (e+112)<<23 | m<<13)
	default: // zero or denormal: m * 2^-24, exact in float32
		f := float32(m) * (1.0 / (1 << 24))
		return math.Float32frombits(sign | math.Float32bits(f))
	}
}

// FloatToHalf rounds f to the nearest half-precision number, ties to even;
// what is too large becomes an infinity.
func FloatToHalf(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b>>16) & 0x8000
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00 | uint16(b>>13)&0x3ff
	case b >= 0x477ff000: // rounds to 65536 or more
		return sign | 0x7c00
	case b < 0x38800000: // below 2^-14: round m * 2^-24 by adding 0.5
		r := math.Float32frombits(b) + 0.5
		return sign | uint16(math.Float32bits(r)-math.Float32bits(0.5))
	default:
		b += 0xfff + b>>13&1
		return sign | uint16(b>>13-112<<10)
	}
}

// isHalf says whether f is exactly a finite half-precision number.
func isHalf(f float32) bool {
	h := FloatToHalf(f)
	return h&0x7c00 != 0x7c00 && HalfToFloat(h) == f
}
