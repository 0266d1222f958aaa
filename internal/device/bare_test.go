package device_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/customize"
	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/pool"
	"crayon/internal/testmodel/tiny"
)

// TestBare: a model whose pool is another's is refused, or runs without
// customisations where that was allowed.
func TestBare(t *testing.T) {
	modelPath, poolPath := tiny.Tiny(t)
	data, err := os.ReadFile(poolPath)
	require.NoError(t, err)
	p, err := pool.Parse(data)
	require.NoError(t, err)
	p.Base.Lineage = "another"

	_, err = device.Open(t.Context(), modelPath, p, device.Options{Threads: 1})
	require.ErrorContains(t, err, "not for this model")

	d, err := device.Open(t.Context(), modelPath, p, device.Options{Threads: 1, Bare: true})
	require.NoError(t, err)
	defer d.Close()
	require.Contains(t, d.Warning, "without customisations")
	prompt, err := d.Form.Prompt("why does the wheel wobble")
	require.NoError(t, err)
	r, err := d.Generate(t.Context(), device.Request{Prompt: prompt, MaxTokens: 4})
	require.NoError(t, err)
	require.NotZero(t, r.Tokens)

	set, err := examples.Read(filepath.Join("..", "..", "examples", "bicycle-repair.csv"), examples.Options{})
	require.NoError(t, err)
	_, err = customize.Make(t.Context(), d, "mine", set, customize.Options{})
	require.ErrorContains(t, err, "no pool for this model")
}
