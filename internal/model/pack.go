package model

import (
	"encoding/binary"
	"fmt"
	"math"

	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/half"
	"crayon/internal/kernel"
)

// pack lays a weight tensor out for the kernels. Types of at most 4 bits stay
// 4 bits, the scales of Q4_K rounded to half precision (to 1 in 2048); 5-bit and Q8_0 blocks are 8-bit without loss; Q6_K, whose scales span
// 16 values, is requantised to 8 bits a block of 32 (error below 0.4 % of the
// block's largest weight); floats stay float32.
func pack(a *kernel.Arena, t *kernel.Team, w *gguf.Tensor) (*kernel.Matrix, error) {
	rows, cols := w.Rows(), w.Cols()
	if cols%32 != 0 {
		return nil, &fault.Error{Op: "read model", Path: w.Name, Err: fmt.Errorf("width %d is not a multiple of 32", cols)}
	}
	d := w.Data
	blocks := cols / 32
	switch w.Type {
	case gguf.Q4_0:
		return a.Pack4(t, rows, cols, func(r, i int, b *kernel.Block) {
			p := d[(r*blocks+i)*18:]
			b.D = float16(p)
			b.M = -8 * b.D
			nibbles(&b.Q, p[2:18])
		}), nil
	case gguf.Q4_1:
		return a.Pack4(t, rows, cols, func(r, i int, b *kernel.Block) {
			p := d[(r*blocks+i)*20:]
			b.D, b.M = float16(p), float16(p[2:])
			nibbles(&b.Q, p[4:20])
		}), nil
	case gguf.Q4_K:
		return a.Pack4(t, rows, cols, func(r, i int, b *kernel.Block) {
			p := d[((r*blocks+i)/8)*144:]
			s := (r*blocks + i) % 8
			sc, mn := scaleMin4K(p[4:16], s)
			b.D, b.M = rounded(float16(p)*float32(sc)), rounded(-float16(p[2:])*float32(mn))
			q := p[16+s/2*32:]
			for j := range b.Q {
				b.Q[j] = q[j] >> (4 * (s & 1)) & 15
			}
		}), nil
	case gguf.Q5_0:
		return a.Pack8(t, rows, cols, func(r, i int, b *kernel.Block) {
			p := d[(r*blocks+i)*22:]
			b.D = float16(p)
			b.M = -16 * b.D
			high := binary.LittleEndian.Uint32(p[2:])
			nibbles(&b.Q, p[6:22])
			for j := range b.Q {
				b.Q[j] |= byte(high>>j&1) << 4
			}
		}), nil
	case gguf.Q8_0:
		return a.Pack8(t, rows, cols, func(r, i int, b *kernel.Block) {
			p := d[(r*blocks+i)*34:]
			b.D = float16(p)
			b.M = -128 * b.D
			for j := range b.Q {
				b.Q[j] = p[2+j] ^ 0x80
			}
		}), nil
	case gguf.Q6_K:
		return a.Pack8(t, rows, cols, func(r, i int, b *kernel.Block) {
			quantiseBlock(b, sixBit(d[((r*blocks+i)/8)*210:], (r*blocks+i)%8))
		}), nil
	case gguf.F32, gguf.F16:
		v := make([]float32, rows*cols)
		w.Floats(v)
		return a.PackF32(t, rows, cols, v), nil
	}
	return nil, &fault.Error{Op: "read model", Path: w.Name, Err: fmt.Errorf("type %v cannot be run", w.Type)}
}

// rounded is the nearest half-precision number, where x is in their range.
func rounded(x float32) float32 {
	if h := half.Bits(x); half.Finite(h) {
		return half.Float32(h)
	}
	return x
}

// float16 reads a half-precision number.
func float16(p []byte) float32 { return half.Float32(binary.LittleEndian.Uint16(p)) }

// nibbles unpacks 16 bytes: low halves are values 0..15, high halves 16..31.
func nibbles(q *[32]uint8, p []byte) {
	p = p[:16]
	for j, v := range p {
		q[j], q[j+16] = v&15, v>>4
	}
}

// scaleMin4K reads the 6-bit scale and minimum of sub-block s (0..7) from the
// 12 packed bytes of a Q4_K block.
func scaleMin4K(p []byte, s int) (scale, minimum byte) {
	if s < 4 {
		return p[s] & 63, p[s+4] & 63
	}
	return p[s+4]&15 | p[s-4]>>6<<4, p[s+4]>>4 | p[s]>>6<<4
}

// sixBit dequantises 32 consecutive values, sub-block s (0..7), of a Q6_K block.
func sixBit(p []byte, s int) (v [32]float32) {
	d := float16(p[208:])
	run := s / 4 // the block is two runs of 128 values
	part := s % 4
	ql := p[run*64+part%2*32:]
	qh := p[128+run*32:]
	scales := p[192+run*8+part*2:]
	for j := range v {
		q := int(ql[j]>>(4*(part/2))&15) | int(qh[j]>>(2*part)&3)<<4
		v[j] = d * float32(int8(scales[j/16])) * float32(q-32)
	}
	return v
}

// quantiseBlock rounds 32 weights to 8 bits, symmetric about 0. The scale is the
// least half-precision number that reaches the largest, so that it takes 2 bytes.
func quantiseBlock(b *kernel.Block, v [32]float32) {
	var most float32
	for _, x := range v {
		most = max(most, x, -x)
	}
	b.D = most / 127
	if h := half.Bits(b.D); half.Finite(h) {
		if half.Float32(h) < b.D {
			h++
		}
		if half.Finite(h) {
			b.D = half.Float32(h)
		}
	}
	b.M = -128 * b.D
	inv := float32(0)
	if b.D > 0 {
		inv = 1 / b.D
	}
	for j, x := range v {
		b.Q[j] = uint8(int(math.RoundToEven(float64(x*inv))) + 128)
	}
}
