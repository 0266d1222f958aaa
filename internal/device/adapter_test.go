package device_test

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/customize"
	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/fault"
	"crayon/internal/pool"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/testmodel/tinydevice"
)

// TestAdapterIsTheBlend: a blend that was exported and is loaded as an adapter
// answers as the blend does, up to the side path's 8 bits, wherever no row is
// asked for.
func TestAdapterIsTheBlend(t *testing.T) {
	modelPath, poolPath := tiny.Tiny(t)
	p, err := pool.Open(poolPath)
	require.NoError(t, err)
	blend := tinydevice.With(t, modelPath, p)
	members := []float32{0.7, 0, 0.3, 1}
	row := blend.Row(members)
	kept, weights := p.Stack.Keep(members)
	merged := kept.Merge(weights, "mine")
	folder, file := filepath.Join(t.TempDir(), "mine"), filepath.Join(t.TempDir(), "mine.gguf")
	require.NoError(t, adapter.WritePEFT(folder, merged, p.Base.Shape, "tiny"))
	require.NoError(t, adapter.WriteGGUF(file, merged, p.Base.Shape))

	for _, path := range []string{folder, file} {
		d, err := device.Open(t.Context(), modelPath, nil, device.Options{Threads: 1, Adapter: path})
		require.NoError(t, err)
		defer d.Close()
		require.Equal(t, "mine", d.Adapter)
		var blended, alone, base float64
		for _, text := range []string{"the hat is on", "why does the wheel wobble", "one"} {
			prompt, err := blend.Form.Prompt(text)
			require.NoError(t, err)
			q := device.Question{Prompt: prompt, Choices: []string{"yes", "no", "a longer answer"}}
			a, err := d.Choose(t.Context(), q)
			require.NoError(t, err)
			bare, err := blend.Score(t.Context(), []device.Question{q})
			require.NoError(t, err)
			q.Row = row
			b, err := blend.Choose(t.Context(), q)
			require.NoError(t, err)
			require.Equal(t, b.Index, a.Index)
			for i := range a.Scores {
				alone += math.Abs(a.Scores[i] - b.Scores[i])
				base += math.Abs(bare[0][i] - b.Scores[i])
				blended += math.Abs(b.Scores[i])
			}
			x, err := d.Generate(t.Context(), device.Request{Prompt: prompt, MaxTokens: 3})
			require.NoError(t, err)
			y, err := blend.Generate(t.Context(), device.Request{Prompt: prompt, Row: row, MaxTokens: 3})
			require.NoError(t, err)
			require.Equal(t, y.Text, x.Text)
		}
		require.Less(t, alone, 0.05*base, "nearer to the blend than to the base model")
		require.Less(t, alone, 0.01*blended)

		set := &examples.Set{Examples: []examples.Example{{Question: "why"}}}
		_, err = customize.Make(t.Context(), d, "mine", set, customize.Options{})
		require.ErrorContains(t, err, "the adapter mine answers here")
		custom, err := customize.Make(t.Context(), blend, "mine", set, customize.Options{})
		require.NoError(t, err)
		_, err = custom.Bind(t.Context(), d)
		require.ErrorContains(t, err, "the adapter mine answers here")
		require.NotEmpty(t, fault.Hint(err))
	}
}

// TestAdapterRefused: what is no adapter of this model, or does nothing.
func TestAdapterRefused(t *testing.T) {
	modelPath, poolPath := tiny.Tiny(t)
	p, err := pool.Open(poolPath)
	require.NoError(t, err)
	dir := t.TempDir()
	kept, weights := p.Stack.Keep([]float32{1, 0, 0, 0})
	whole := kept.Merge(weights, "whole")
	faint := kept.Merge(weights, "faint")
	for _, pair := range faint.Pairs {
		for i := range pair.B {
			pair.B[i] *= 1e-12
		}
	}
	require.NoError(t, adapter.WritePEFT(filepath.Join(dir, "faint"), faint, p.Base.Shape, "tiny"))
	require.NoError(t, adapter.WritePEFT(filepath.Join(dir, "whole"), whole, p.Base.Shape, "tiny"))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "empty"), 0o700))
	other := tiny.Config
	other.FF = 128
	for _, c := range []struct {
		path, model, text, hint string
		exit                    int
	}{
		{path: "faint", text: "changes nothing", hint: "trained", exit: fault.ExitVerify},
		{path: "absent", text: "no such file", hint: "PEFT folder", exit: fault.ExitUsage},
		{path: "empty", text: "adapter_config.json", hint: "PEFT folder", exit: fault.ExitUsage},
		{path: "whole/adapter_model.safetensors", text: "one file of a PEFT folder", hint: filepath.Join(dir, "whole"), exit: fault.ExitVerify},
		{path: modelPath, text: "is this a model?", exit: fault.ExitVerify},
		{path: "whole", model: tiny.Model(t, other, 8), text: "the model's is", exit: fault.ExitVerify},
	} {
		path, model := c.path, c.model
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		if model == "" {
			model = modelPath
		}
		_, err := device.Open(t.Context(), model, nil, device.Options{Threads: 1, Adapter: path})
		require.Error(t, err, c.path)
		require.Contains(t, err.Error(), c.text, c.path)
		require.Contains(t, fault.Hint(err), c.hint, c.path)
		require.Equal(t, c.exit, fault.Code(err), err)
	}
}
