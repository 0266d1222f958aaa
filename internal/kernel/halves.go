package kernel

import "crayon/internal/half"

// ToHalf rounds src to half precision, nearest even; dst has at least its
// length.
func ToHalf(dst []uint16, src []float32) { toHalf(dst[:len(src)], src) }

// FromHalf widens src to float32; dst has at least its length.
func FromHalf(dst []float32, src []uint16) { fromHalf(dst[:len(src)], src) }

func plainToHalf(dst []uint16, src []float32) {
	for i, v := range src {
		dst[i] = half.Bits(v)
	}
}

func plainFromHalf(dst []float32, src []uint16) {
	for i, v := range src {
		dst[i] = half.Float32(v)
	}
}
