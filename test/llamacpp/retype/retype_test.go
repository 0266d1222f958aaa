package retype_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/gguf"
	"crayon/test/llamacpp/retype"
)

func write(t *testing.T) string {
	t.Helper()
	b := gguf.NewBuilder()
	b.Set("general.architecture", "llama")
	b.Set("general.file_type", uint32(2))
	b.Set("tokenizer.ggml.tokens", []string{"a", "b"})
	for _, x := range []struct {
		name  string
		shape []int
		t     gguf.Type
	}{{"wide", []int{64, 2}, gguf.Q4_0}, {"narrow", []int{8, 3}, gguf.F32}, {"norm", []int{32}, gguf.F32}} {
		n := 1
		for _, d := range x.shape {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(i%7) - 3
		}
		data, err := gguf.Quantize(x.t, v)
		require.NoError(t, err)
		b.Add(x.name, x.shape, x.t, data)
	}
	path := filepath.Join(t.TempDir(), "in.gguf")
	require.NoError(t, b.WriteFile(path))
	return path
}

func TestFile(t *testing.T) {
	in := write(t)
	before, err := gguf.Open(in)
	require.NoError(t, err)
	defer before.Close()
	for _, c := range []struct {
		to                 gguf.Type
		wide, narrow, norm gguf.Type
		tolerance          float64
		fileType           uint64
	}{
		{gguf.F32, gguf.F32, gguf.F32, gguf.F32, 0, 0},
		{gguf.F16, gguf.F16, gguf.F16, gguf.F32, 2e-3, 1},
		{gguf.Q8_0, gguf.Q8_0, gguf.F16, gguf.F32, 0.02, 7},
	} {
		out := filepath.Join(t.TempDir(), "out.gguf")
		require.NoError(t, retype.File(in, out, c.to))
		after, err := gguf.Open(out)
		require.NoError(t, err)
		defer after.Close()
		require.Equal(t, before.Keys(), after.Keys())
		ft, _ := after.Uint("general.file_type")
		require.Equal(t, c.fileType, ft)
		words, _ := after.Strings("tokenizer.ggml.tokens")
		require.Equal(t, []string{"a", "b"}, words)
		for name, want := range map[string]gguf.Type{"wide": c.wide, "narrow": c.narrow, "norm": c.norm} {
			x, y := before.Tensor(name), after.Tensor(name)
			require.Equal(t, want, y.Type, name)
			require.Equal(t, x.Shape, y.Shape, name)
			a, b := make([]float32, x.Elements()), make([]float32, x.Elements())
			x.Floats(a)
			y.Floats(b)
			require.InDeltaSlice(t, a, b, c.tolerance+1e-12, name)
		}
	}
}

func TestRefusals(t *testing.T) {
	in := write(t)
	require.ErrorContains(t, retype.File(in, in+".out", gguf.Q4_K), "only F32")
	require.Error(t, retype.File(in+".none", in+".out", gguf.F32))
	require.NoFileExists(t, in+".out")
}
