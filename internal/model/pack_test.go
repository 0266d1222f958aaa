package model

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/gguf"
	"crayon/internal/half"
	"crayon/internal/kernel"
)

// scalesAt are the places of half-precision numbers in a block, which random
// bytes would make NaN.
var scalesAt = map[gguf.Type][]int{gguf.Q4_0: {0}, gguf.Q4_1: {0, 2}, gguf.Q5_0: {0}, gguf.Q8_0: {0}, gguf.Q4_K: {0, 2}, gguf.Q6_K: {208}}

// randomTensor has every quantised value, every sub-scale and both signs of
// the scales.
func randomTensor(kind gguf.Type, rows, cols int, rng *rand.Rand) *gguf.Tensor {
	values, size := kind.Block()
	data := make([]byte, rows*cols/values*size)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	for at := 0; at < len(data); at += size {
		switch kind {
		case gguf.F32:
			binary.LittleEndian.PutUint32(data[at:], math.Float32bits(float32(rng.NormFloat64())))
		case gguf.F16:
			binary.LittleEndian.PutUint16(data[at:], half.Bits(float32(rng.NormFloat64())))
		}
		for _, s := range scalesAt[kind] {
			binary.LittleEndian.PutUint16(data[at+s:], half.Bits(float32(0.01*rng.NormFloat64())))
		}
	}
	return &gguf.Tensor{Name: "w", Shape: []int{cols, rows}, Type: kind, Data: data}
}

func TestPackKeepsTheStoredValues(t *testing.T) {
	team := kernel.NewTeam(2)
	defer team.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, kind := range []gguf.Type{gguf.F32, gguf.F16, gguf.Q4_0, gguf.Q4_1, gguf.Q5_0, gguf.Q8_0, gguf.Q4_K, gguf.Q6_K} {
		t.Run(kind.String(), func(t *testing.T) {
			const rows, cols = 37, 512
			w := randomTensor(kind, rows, cols, rng)
			p, err := pack(nil, team, w)
			require.NoError(t, err)
			require.Equal(t, rows, p.Rows())
			require.Equal(t, cols, p.Cols())
			if kind == gguf.Q4_0 || kind == gguf.Q4_1 || kind == gguf.Q4_K {
				require.LessOrEqual(t, p.Bytes(), (rows+15)/16*16*cols*3/4, "4 bits stay 4 bits beside float32 scales")
			}
			got, want := make([]float32, cols), make([]float32, cols)
			for r := range rows {
				p.Row(r, got)
				w.Row(r, want)
				for b := 0; b < cols; b += 32 {
					var most float64
					for _, x := range want[b : b+32] {
						most = max(most, math.Abs(float64(x)))
					}
					tolerance := 1e-6 * most
					switch kind {
					case gguf.F32, gguf.F16:
						tolerance = 0
					case gguf.Q4_K:
						tolerance = most / 400 // scale and minimum to 11 bits each
					case gguf.Q6_K:
						tolerance = most / 250 // requantised, as pack says
					}
					for i := b; i < b+32; i++ {
						require.InDelta(t, want[i], got[i], tolerance+1e-9, "row %d, column %d", r, i)
					}
				}
			}
		})
	}
}

func TestPackRefuses(t *testing.T) {
	_, err := pack(nil, nil, &gguf.Tensor{Name: "w", Shape: []int{48, 2}, Type: gguf.F32, Data: make([]byte, 4*96)})
	require.ErrorContains(t, err, "multiple of 32")
	_, err = pack(nil, nil, &gguf.Tensor{Name: "w", Shape: []int{32, 1}, Type: gguf.Type(99)})
	require.ErrorContains(t, err, "cannot be run")
}

func TestQuantiseBlockOfZeros(t *testing.T) {
	var b kernel.Block
	quantiseBlock(&b, [32]float32{})
	for _, q := range b.Q {
		require.Zero(t, b.D*float32(q)+b.M)
	}
}
