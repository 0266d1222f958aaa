package tiny_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/device"
	"crayon/internal/gguf"
	"crayon/internal/pool"
	"crayon/internal/testmodel/tiny"
)

func TestTinyIsWhole(t *testing.T) {
	modelPath, poolPath := tiny.Tiny(t)
	p, err := pool.Open(poolPath)
	require.NoError(t, err)
	d, err := device.Open(t.Context(), modelPath, p, device.Options{Threads: 1})
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	require.Empty(t, d.Warning)
	require.Len(t, p.Blended(), len(tiny.Blended))
	for i := range p.Members {
		w := make([]float32, len(p.Members))
		w[i] = 1
		effect, err := d.Effect(t.Context(), d.Row(w))
		require.NoError(t, err)
		require.Greater(t, effect, 0.01, p.Members[i].Name)
	}
	prompt, err := d.Form.Prompt("the hat is on the hen <|im_end|>")
	require.NoError(t, err)
	r, err := d.Generate(t.Context(), device.Request{Prompt: prompt, MaxTokens: 8})
	require.NoError(t, err)
	require.NotZero(t, r.Tokens)

	again, _ := tiny.Tiny(t)
	first, err := gguf.Digest(modelPath)
	require.NoError(t, err)
	second, err := gguf.Digest(again)
	require.NoError(t, err)
	require.Equal(t, first, second)
}
