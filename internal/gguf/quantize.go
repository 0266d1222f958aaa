package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"crayon/internal/fault"
	"crayon/internal/half"
)

// errRange: an F16, or the F16 scale of a block, ends at 65504.
var errRange = errors.New("too large for an F16 number")

// Quantize stores src, a whole number of blocks of t, as F32, F16, Q4_0, Q4_1,
// Q5_0 or Q8_0. NaN and infinite values are refused.
//
// With M the largest magnitude of a block, an error is at most M/254 for Q8_0,
// M/8 for Q4_0 and M/16 for Q5_0 (both on one side of zero; half that on the
// other), and (max-min)/30 + |min|/2048 for Q4_1, plus the rounding of the
// scale to F16.
func Quantize(t Type, src []float32) ([]byte, error) {
	data, err := quantize(t, src)
	if err != nil {
		return nil, &fault.Error{Op: "quantize to " + t.String(), Err: err}
	}
	return data, nil
}

func quantize(t Type, src []float32) ([]byte, error) {
	values, bytes := t.Block()
	var block func(src []float32, dst []byte) error
	switch t {
	case F32:
		block = func(src []float32, dst []byte) error {
			binary.LittleEndian.PutUint32(dst, math.Float32bits(src[0]))
			return nil
		}
	case F16:
		block = func(src []float32, dst []byte) error { return putHalf(dst, src[0]) }
	case Q4_0:
		block = quantizeQ40
	case Q4_1:
		block = quantizeQ41
	case Q5_0:
		block = quantizeQ50
	case Q8_0:
		block = quantizeQ80
	default:
		return nil, errors.New("the type is not written")
	}
	if len(src)%values != 0 {
		return nil, fmt.Errorf("%d values are not whole blocks of %d", len(src), values)
	}
	for i, v := range src {
		if v-v != 0 {
			return nil, fmt.Errorf("value %d is %v", i, v)
		}
	}
	data := make([]byte, len(src)/values*bytes)
	for i := range len(src) / values {
		if err := block(src[i*values:(i+1)*values], data[i*bytes:(i+1)*bytes]); err != nil {
			return nil, fmt.Errorf("value %d on: %w", i*values, err)
		}
	}
	return data, nil
}

func putHalf(dst []byte, v float32) error {
	h := half.Bits(v)
	if !half.Finite(h) {
		return errRange
	}
	binary.LittleEndian.PutUint16(dst, h)
	return nil
}

// putScale stores the scale d and gives back the value that will be read. In
// the subnormal range, where rounding down would cut off the largest values,
// it rounds away from zero.
func putScale(dst []byte, d float32) (float32, error) {
	h := half.Bits(d)
	if !half.Finite(h) {
		return 0, errRange
	}
	if got := half.Float32(h); h&0x7fff < 0x0400 && math.Abs(float64(got)) < math.Abs(float64(d)) {
		h++
	}
	binary.LittleEndian.PutUint16(dst, h)
	return half.Float32(h), nil
}

// level is x/d to nearest, within lo and hi; 0 for a scale of zero, which only
// a block of zeros has.
func level(x, d float32, lo, hi int) int {
	if d == 0 {
		return 0
	}
	return min(max(int(math.RoundToEven(float64(x)/float64(d))), lo), hi)
}

// extreme is the value of the largest magnitude, with its sign.
func extreme(src []float32) float32 {
	top := float32(0)
	for _, v := range src {
		if math.Abs(float64(v)) > math.Abs(float64(top)) {
			top = v
		}
	}
	return top
}

func quantizeQ80(src []float32, dst []byte) error {
	d, err := putScale(dst, float32(math.Abs(float64(extreme(src))))/127)
	if err != nil {
		return err
	}
	for i, v := range src {
		dst[2+i] = byte(int8(level(v, d, -127, 127)))
	}
	return nil
}

// quantizeQ40 gives the largest magnitude the level -8, whatever its sign, so
// that all 16 levels are used.
func quantizeQ40(src []float32, dst []byte) error {
	d, err := putScale(dst, extreme(src)/-8)
	if err != nil {
		return err
	}
	for i := range 16 {
		dst[2+i] = byte(level(src[i], d, -8, 7)+8) | byte(level(src[i+16], d, -8, 7)+8)<<4
	}
	return nil
}

func quantizeQ50(src []float32, dst []byte) error {
	d, err := putScale(dst, extreme(src)/-16)
	if err != nil {
		return err
	}
	var high uint32
	for i := range 16 {
		lo, hi := uint32(level(src[i], d, -16, 15)+16), uint32(level(src[i+16], d, -16, 15)+16)
		dst[6+i] = byte(lo&15 | hi&15<<4)
		high |= lo>>4<<i | hi>>4<<(i+16)
	}
	binary.LittleEndian.PutUint32(dst[2:], high)
	return nil
}

func quantizeQ41(src []float32, dst []byte) error {
	lo, hi := src[0], src[0]
	for _, v := range src[1:] {
		lo, hi = min(lo, v), max(hi, v)
	}
	// The scale spans from the minimum as stored, so that the top is reached.
	if err := putHalf(dst[2:], lo); err != nil {
		return err
	}
	m := half.Float32(binary.LittleEndian.Uint16(dst[2:]))
	d, err := putScale(dst, max(hi-m, 0)/15)
	if err != nil {
		return err
	}
	for i := range 16 {
		dst[4+i] = byte(level(src[i]-m, d, 0, 15)) | byte(level(src[i+16]-m, d, 0, 15))<<4
	}
	return nil
}
