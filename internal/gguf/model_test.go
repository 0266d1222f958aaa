package gguf

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/testmodel"
)

func TestRealModel(t *testing.T) {
	path := testmodel.Path(t)
	f, err := Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.Len(t, f.Tensors(), 272)
	types := map[Type]int{}
	for _, tensor := range f.Tensors() {
		types[tensor.Type]++
	}
	require.Equal(t, map[Type]int{Q4_1: 210, Q8_0: 1, F32: 61}, types)
	tokens, ok := f.Strings("tokenizer.ggml.tokens")
	require.True(t, ok)
	require.Len(t, tokens, 49152)
	require.Equal(t, "<|endoftext|>", tokens[0])
	require.NoError(t, f.Validate(context.Background()))
	one, err := Fingerprint(f)
	require.NoError(t, err)
	t.Log("lineage", one)
}

func BenchmarkOpen(b *testing.B) {
	path := testmodel.Path(b)
	for b.Loop() {
		f, err := Open(path)
		require.NoError(b, err)
		require.NoError(b, f.Close())
	}
}
