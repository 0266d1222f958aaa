package gguf

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/half"
)

// golden.gguf was written, and its blocks read, by llama.cpp's own Python
// package: see testdata/golden.py.
func golden(t *testing.T) *File {
	f, err := Open("testdata/golden.gguf")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func TestGoldenKeys(t *testing.T) {
	f := golden(t)
	want := map[string]any{
		"general.architecture": "llama", "general.alignment": uint32(64),
		"u8": uint8(200), "i8": int8(-100), "u16": uint16(60000), "i16": int16(-30000),
		"u32": uint32(4000000000), "i32": int32(-2000000000), "u64": uint64(1<<63 + 1), "i64": int64(-1 << 62),
		"f32": float32(1.5), "f64": 0.1, "yes": true, "no": false, "text": "größe 猫",
		"strings": []string{"a", "", "猫"}, "ints": []int32{1, -2, 3}, "floats": []float32{0.5, -1.25}, "truths": []bool{true, false},
	}
	require.Len(t, f.Keys(), len(want))
	for _, key := range f.Keys() {
		got, ok := f.Value(key)
		require.True(t, ok, key)
		require.Equal(t, want[key], got, key)
	}

	for _, key := range []string{"u8", "u16", "u32", "u64"} {
		_, ok := f.Uint(key)
		require.True(t, ok, key)
	}
	for _, key := range []string{"i8", "i16", "i32", "i64", "f32", "text", "ints", "none"} {
		_, ok := f.Uint(key)
		require.False(t, ok, key)
	}
	x, ok := f.Float("f64")
	require.True(t, ok)
	require.Equal(t, 0.1, x)
	ints, ok := f.Ints("ints")
	require.True(t, ok)
	require.Equal(t, []int64{1, -2, 3}, ints)
	_, ok = f.Ints("floats")
	require.False(t, ok)
	_, ok = f.Strings("text")
	require.False(t, ok)
}

func TestGoldenBlocks(t *testing.T) {
	f := golden(t)
	for _, kind := range []Type{Q4_0, Q4_1, Q5_0, Q8_0, Q4_K, Q6_K} {
		packed, values := f.Tensor(kind.String()), f.Tensor(kind.String()+".values")
		require.NotNil(t, packed)
		require.Equal(t, kind, packed.Type)
		require.Equal(t, values.Shape, packed.Shape)
		require.Equal(t, 3, packed.Rows())
		want, got := make([]float32, values.Elements()), make([]float32, packed.Elements())
		values.Floats(want)
		packed.Floats(got)
		requireClose(t, kind, want, got)
		second := read(kind, packed.Data)
		requireClose(t, kind, second, got)

		row := make([]float32, packed.Cols())
		packed.Row(2, row)
		require.Equal(t, got[2*packed.Cols():], row)
	}
	require.Equal(t, []int{5, 3}, f.Tensor("F32").Shape)
	require.Equal(t, []int{4, 3, 2}, f.Tensor("F16").Shape)
	require.Equal(t, 6, f.Tensor("F16").Rows())
}

// requireClose allows the last bit: the order of the products differs.
func requireClose(t *testing.T, kind Type, want, got []float32) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		if math.Abs(float64(want[i]-got[i])) > 4e-7*math.Max(1, math.Abs(float64(want[i]))) {
			t.Fatalf("%v, value %d: got %v, want %v", kind, i, got[i], want[i])
		}
	}
}

// read is a second reading of the block layouts, a value at a time: where
// value j of a block has its bits, from ggml's description of the types.
func read(kind Type, data []byte) []float32 {
	f16 := func(b []byte) float64 { return float64(half.Float32(binary.LittleEndian.Uint16(b))) }
	bit := func(b []byte, i int) int { return int(b[i/8]) >> (i % 8) & 1 }
	field := func(b []byte, i, width int) (v int) { // bits i ... i+width-1, lowest first
		for k := range width {
			v |= bit(b, i+k) << k
		}
		return v
	}
	value := map[Type]func(b []byte, j int) float64{
		Q4_0: func(b []byte, j int) float64 { return f16(b) * float64(field(b[2:], j%16*8+j/16*4, 4)-8) },
		Q4_1: func(b []byte, j int) float64 { return f16(b)*float64(field(b[4:], j%16*8+j/16*4, 4)) + f16(b[2:]) },
		Q5_0: func(b []byte, j int) float64 {
			return f16(b) * float64(field(b[6:], j%16*8+j/16*4, 4)+16*bit(b[2:], j)-16)
		},
		Q8_0: func(b []byte, j int) float64 { return f16(b) * float64(int8(b[2+j])) },
		Q4_K: func(b []byte, j int) float64 {
			g := j / 32 // group: scale and minimum are 6 bits of the 12 bytes from 4
			p := b[4:16]
			scale, floor := field(p, 8*g, 6), 0
			if g < 4 {
				floor = field(p, 8*(g+4), 6)
			} else {
				scale = field(p, 8*(g+4), 4) + 16*field(p, 8*(g-4)+6, 2)
				floor = field(p, 8*(g+4)+4, 4) + 16*field(p, 8*g+6, 2)
			}
			q := field(b[16+32*(g/2):], j%32*8+g%2*4, 4)
			return f16(b)*float64(scale*q) - f16(b[2:])*float64(floor)
		},
		Q6_K: func(b []byte, j int) float64 {
			h, r, i := j/128, j%128/32, j%32 // half, quarter of the half, place in it
			q := field(b[64*h+32*(r%2):], 8*i+4*(r/2), 4) + 16*field(b[128+32*h:], 8*i+2*r, 2) - 32
			return f16(b[208:]) * float64(int8(b[192+j/16])) * float64(q)
		},
	}[kind]
	n, size := kind.Block()
	var out []float32
	for ; len(data) > 0; data = data[size:] {
		for j := range n {
			out = append(out, float32(value(data[:size], j)))
		}
	}
	return out
}
