package gguf

import (
	"encoding/binary"
	"fmt"
	"math"

	"crayon/internal/fault"
	"crayon/internal/half"
)

// Dequantize writes the values of the blocks in src to dst. Both must be the
// same whole number of blocks of t.
func Dequantize(t Type, src []byte, dst []float32) error {
	values, bytes := t.Block()
	if values == 0 {
		return &fault.Error{Op: "dequantize", Err: fmt.Errorf("%v is not read", t)}
	}
	if len(src)%bytes != 0 || len(src)/bytes*values != len(dst) {
		return &fault.Error{Op: "dequantize", Err: fmt.Errorf("%d bytes of %v do not hold %d values", len(src), t, len(dst))}
	}
	dequantize(t, src, dst)
	return nil
}

// dequantize is Dequantize for lengths known to agree. The layouts are those
// of ggml's block structures (ggml-common.h).
func dequantize(t Type, src []byte, dst []float32) {
	switch t {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = half.Float32(binary.LittleEndian.Uint16(src[2*i:]))
		}
	case Q4_0:
		for ; len(dst) >= 32; src, dst = src[18:], dst[32:] {
			d := half.Float32(binary.LittleEndian.Uint16(src))
			q, lo, hi := src[2:18], dst[:16], dst[16:32]
			for i, b := range q {
				lo[i] = d * float32(int(b&15)-8)
				hi[i] = d * float32(int(b>>4)-8)
			}
		}
	case Q4_1:
		for ; len(dst) >= 32; src, dst = src[20:], dst[32:] {
			d := half.Float32(binary.LittleEndian.Uint16(src))
			m := half.Float32(binary.LittleEndian.Uint16(src[2:]))
			q, lo, hi := src[4:20], dst[:16], dst[16:32]
			for i, b := range q {
				lo[i] = float32(d*float32(b&15)) + m
				hi[i] = float32(d*float32(b>>4)) + m
			}
		}
	case Q5_0:
		for ; len(dst) >= 32; src, dst = src[22:], dst[32:] {
			d := half.Float32(binary.LittleEndian.Uint16(src))
			high := binary.LittleEndian.Uint32(src[2:])
			q, lo, hi := src[6:22], dst[:16], dst[16:32]
			for i, b := range q {
				lo[i] = d * float32(int(uint32(b&15)|high>>i<<4&16)-16)
				hi[i] = d * float32(int(uint32(b>>4)|high>>(i+16)<<4&16)-16)
			}
		}
	case Q8_0:
		for ; len(dst) >= 32; src, dst = src[34:], dst[32:] {
			d := half.Float32(binary.LittleEndian.Uint16(src))
			q, out := src[2:34], dst[:32]
			for i, b := range q {
				out[i] = d * float32(int8(b))
			}
		}
	case Q4_K:
		for ; len(dst) >= 256; src, dst = src[144:], dst[256:] {
			dequantizeQ4K((*[144]byte)(src), (*[256]float32)(dst))
		}
	case Q6_K:
		for ; len(dst) >= 256; src, dst = src[210:], dst[256:] {
			dequantizeQ6K((*[210]byte)(src), (*[256]float32)(dst))
		}
	}
}

// dequantizeQ4K: F16 scale and scale of minima, eight 6-bit scales and minima
// packed in 12 bytes, then four runs of 32 bytes, each the low nibbles of one
// group of 32 and the high nibbles of the next.
func dequantizeQ4K(src *[144]byte, dst *[256]float32) {
	d := half.Float32(binary.LittleEndian.Uint16(src[0:]))
	dmin := half.Float32(binary.LittleEndian.Uint16(src[2:]))
	var sc, mn [8]float32
	p := src[4:16]
	for j := range 4 {
		sc[j] = d * float32(p[j]&63)
		mn[j] = dmin * float32(p[j+4]&63)
		sc[j+4] = d * float32(p[j+8]&15|p[j]>>6<<4)
		mn[j+4] = dmin * float32(p[j+8]>>4|p[j+4]>>6<<4)
	}
	for g := range 4 {
		q := src[16+32*g:][:32]
		lo, hi := dst[64*g:][:32], dst[64*g+32:][:32]
		d0, m0, d1, m1 := sc[2*g], mn[2*g], sc[2*g+1], mn[2*g+1]
		for i, b := range q {
			lo[i] = float32(d0*float32(b&15)) - m0
			hi[i] = float32(d1*float32(b>>4)) - m1
		}
	}
}

// dequantizeQ6K: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 int8
// scales, F16 scale. Each half of 128 values takes 64, 32 and 8 of them.
func dequantizeQ6K(src *[210]byte, dst *[256]float32) {
	d := half.Float32(binary.LittleEndian.Uint16(src[208:]))
	for h := range 2 {
		low, high, scales := src[64*h:][:64], src[128+32*h:][:32], src[192+8*h:][:8]
		out := dst[128*h:][:128]
		for g := range 2 { // halves of a group of 32 have each their scale
			s0, s1 := d*float32(int8(scales[g])), d*float32(int8(scales[g+2]))
			s2, s3 := d*float32(int8(scales[g+4])), d*float32(int8(scales[g+6]))
			for i := 16 * g; i < 16*g+16; i++ {
				a, b, c := low[i], low[i+32], high[i]
				out[i] = s0 * float32(int(a&15|c&3<<4)-32)
				out[i+32] = s1 * float32(int(b&15|c>>2&3<<4)-32)
				out[i+64] = s2 * float32(int(a>>4|c>>4&3<<4)-32)
				out[i+96] = s3 * float32(int(b>>4|c>>6<<4)-32)
			}
		}
	}
}
