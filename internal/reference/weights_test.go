package reference

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/arch"
	"crayon/internal/gguf"
)

// stored writes w as a GGUF file of F32 tensors, without the one named, or with
// a row too few.
func stored(t *testing.T, w *Weights, without, short string) *gguf.File {
	t.Helper()
	c := w.Config
	b := gguf.NewBuilder()
	b.Set("general.architecture", c.Family)
	add := func(name string, rows int, x []float32) {
		if name == without {
			return
		}
		shape := []int{len(x) / rows}
		if rows > 1 {
			if name == short {
				x, rows = x[:len(x)-shape[0]], rows-1
			}
			shape = append(shape, rows)
		}
		var data []byte
		for _, v := range x {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		b.Add(name, shape, gguf.F32, data)
	}
	add("token_embd.weight", c.Vocab, w.Embed)
	add("output_norm.weight", 1, w.OutNorm)
	if !c.Tied {
		add("output.weight", c.Vocab, w.Head)
	}
	for i, l := range w.Layers {
		add(fmt.Sprintf("blk.%d.attn_norm.weight", i), 1, l.AttnNorm)
		add(fmt.Sprintf("blk.%d.ffn_norm.weight", i), 1, l.FFNNorm)
		for k, m := range l.W {
			out, _ := c.Shape(arch.Kind(k))
			add(arch.SlotOf(i, arch.Kind(k)).Tensor(), out, m)
			if l.Bias[k] != nil {
				add(fmt.Sprintf("blk.%d.%s.bias", i, arch.Kind(k)), 1, l.Bias[k])
			}
		}
	}
	var file bytes.Buffer
	_, err := b.WriteTo(&file)
	require.NoError(t, err)
	f, err := gguf.Parse(file.Bytes())
	require.NoError(t, err)
	return f
}

func TestLoad(t *testing.T) {
	for _, family := range []string{"llama", "qwen2"} {
		w := random(tiny(family), rand.New(rand.NewPCG(1, 3)))
		got, err := Load(stored(t, w, "", ""), w.Config)
		require.NoError(t, err)
		require.Equal(t, w, got)
		require.Equal(t, w.Config.Tied, &got.Head[0] == &got.Embed[0])
		for _, name := range []string{"token_embd.weight", "output_norm.weight", "blk.1.ffn_gate.weight", "blk.0.attn_norm.weight"} {
			_, err = Load(stored(t, w, name, ""), w.Config)
			require.ErrorContains(t, err, name+" is missing")
		}
		for _, name := range []string{"token_embd.weight", "blk.1.attn_k.weight"} {
			_, err = Load(stored(t, w, "", name), w.Config)
			require.ErrorContains(t, err, name+" is ")
		}
	}
}
