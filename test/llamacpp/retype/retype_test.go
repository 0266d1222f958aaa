package retype_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/gguf"
	"crayon/test/llamacpp/retype"
)

func TestFloat32(t *testing.T) {
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.gguf"), filepath.Join(dir, "out.gguf")
	shapes := map[string][]int{"wide": {64, 2}, "narrow": {8, 3}, "norm": {32}}
	types := map[string]gguf.Type{"wide": gguf.Q4_0, "narrow": gguf.F16, "norm": gguf.F32}
	b := gguf.NewBuilder()
	b.Set("general.architecture", "llama")
	b.Set("general.file_type", uint32(2))
	b.Set("tokenizer.ggml.tokens", []string{"a", "b"})
	for _, name := range []string{"wide", "narrow", "norm"} {
		v := make([]float32, 128)
		for i := range v {
			v[i] = float32(i%7) - 3.25
		}
		n := shapes[name][0]
		if len(shapes[name]) == 2 {
			n *= shapes[name][1]
		}
		data, err := gguf.Quantize(types[name], v[:n])
		require.NoError(t, err)
		b.Add(name, shapes[name], types[name], data)
	}
	require.NoError(t, b.WriteFile(in))

	require.NoError(t, retype.Float32(in, out))
	before, err := gguf.Open(in)
	require.NoError(t, err)
	defer before.Close()
	after, err := gguf.Open(out)
	require.NoError(t, err)
	defer after.Close()
	require.Equal(t, before.Keys(), after.Keys())
	fileType, _ := after.Uint("general.file_type")
	require.Zero(t, fileType)
	words, _ := after.Strings("tokenizer.ggml.tokens")
	require.Equal(t, []string{"a", "b"}, words)
	require.Len(t, after.Tensors(), len(shapes))
	for name, shape := range shapes {
		x, y := before.Tensor(name), after.Tensor(name)
		require.Equal(t, gguf.F32, y.Type, name)
		require.Equal(t, shape, y.Shape, name)
		want, got := make([]float32, x.Elements()), make([]float32, x.Elements())
		x.Floats(want)
		y.Floats(got)
		require.Equal(t, want, got, name)
	}

	require.Error(t, retype.Float32(in+".none", out+".none"))
	require.NoFileExists(t, out+".none")
}
