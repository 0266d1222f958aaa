package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/gguf"
	"crayon/internal/oracle"
	"crayon/internal/testmodel/tiny"
	"crayon/test/llamacpp/fetch"
	"crayon/test/llamacpp/llama"
)

func library(t *testing.T) *llama.Library {
	t.Helper()
	dir, ok := fetch.Present()
	if !ok {
		t.Skip("llama.cpp's libraries are not here: go -C test/llamacpp run ./cmd/fetch")
	}
	lib, err := llama.Open(dir)
	require.NoError(t, err)
	return lib
}

func subject(t *testing.T, c arch.Config, kind gguf.Type) *oracle.Subject {
	t.Helper()
	s, err := oracle.OpenSubject(tiny.Model(t, c, kind), 2)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	s.Texts = s.Texts[:3]
	return s
}

// Random models of both families: llama.cpp must agree with the reference.
func TestReferenceAgrees(t *testing.T) {
	lib := library(t)
	for _, c := range []arch.Config{tiny.Config, tiny.Qwen2()} {
		t.Run(c.Family, func(t *testing.T) {
			f, err := reference(t.Context(), lib, subject(t, c, gguf.Q8_0))
			require.NoError(t, err)
			require.Less(t, f.KL, maxKL)
			require.Greater(t, f.Tokens, 100)
		})
	}
}

// Adapters written as GGUF must do in llama.cpp what the stack does here, in
// both families: the order of B's rows on q and k is part of it.
func TestAdaptersAgree(t *testing.T) {
	lib := library(t)
	for _, c := range []arch.Config{tiny.Config, tiny.Qwen2()} {
		t.Run(c.Family, func(t *testing.T) {
			s := subject(t, c, gguf.F32)
			m, err := lib.Load(s.Path)
			require.NoError(t, err)
			defer m.Close()
			ctx, err := m.NewContext(llama.ContextOptions{Tokens: 2048, Threads: 2, Exact: true})
			require.NoError(t, err)
			defer ctx.Close()
			all := oracle.RandomAdapters(s.Config, 2, 4, 1, 1)
			scales := []float32{0.7, 0.3}
			var loaded []*llama.Adapter
			for i, a := range all {
				path := filepath.Join(t.TempDir(), "adapter.gguf")
				require.NoError(t, adapter.WriteGGUF(path, a, s.Config))
				x, err := m.LoadAdapter(path)
				require.NoError(t, err, i)
				defer x.Close()
				loaded = append(loaded, x)
			}
			stack, err := adapter.NewStack(all)
			require.NoError(t, err)
			blend := oracle.Blend{Stack: stack, Row: stack.RowWeights(scales)}

			f, err := oracle.Compare(t.Context(), s.Reference(blend), peer{ctx}, s.Texts)
			require.NoError(t, err)
			require.Greater(t, f.KL, 0.01, "without the adapters llama.cpp must differ")
			require.NoError(t, ctx.SetAdapters(loaded, scales))
			f, err = oracle.Compare(t.Context(), s.Reference(blend), peer{ctx}, s.Texts)
			require.NoError(t, err)
			require.Less(t, f.KL, maxKL)
			require.NoError(t, ctx.SetAdapters(nil, nil))
			f, err = oracle.Compare(t.Context(), s.Reference(oracle.Blend{}), peer{ctx}, s.Texts)
			require.NoError(t, err)
			require.Less(t, f.KL, maxKL)
			require.Error(t, ctx.SetAdapters(loaded, scales[:1]))
		})
	}
}
