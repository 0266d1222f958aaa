package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
	"crayon/internal/oracle"
	"crayon/internal/testmodel/tiny"
)

func dataFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "hats"), 0o700))
	f, err := os.Create(filepath.Join(dir, "hats", "dev.jsonl.gz"))
	require.NoError(t, err)
	w := gzip.NewWriter(f)
	for i := range 60 {
		fmt.Fprintf(w, `{"dataset":"hats","id":"%d","question":"where is the hat number %d?","choices":[],"answer":"on hen %d"}`+"\n", i, i, i)
	}
	require.NoError(t, w.Close())
	require.NoError(t, f.Close())
	return dir
}

func TestPerplexityIsKept(t *testing.T) {
	t.Setenv("CRAYON_TEST_MODEL", tiny.Model(t, tiny.Config, gguf.F32))
	p := perplexity{data: dataFolder(t), model: oracle.Models[0], levels: "all", out: filepath.Join(t.TempDir(), "results"), tokens: 600, seed: 1}
	var out bytes.Buffer
	last, err := p.run(t.Context(), &out, 1)
	require.NoError(t, err, "float32 weights are exact: %s", out.String())
	require.Regexp(t, `^perplexity: model=smollm2-135m plain=[+-]0\.\d{3}%.* tokens=\d+$`, last)
	files, err := filepath.Glob(filepath.Join(p.out, "perplexity-smollm2-135m-*.json"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	data, err := os.ReadFile(files[0])
	require.NoError(t, err)
	var r result
	require.NoError(t, json.Unmarshal(data, &r))
	require.Len(t, r.Levels, len(kernel.Levels()))
	require.GreaterOrEqual(t, r.Tokens, 600)
	require.Positive(t, r.Rows["hats"])
	require.Positive(t, r.Levels[0].Perplexity)
	require.Len(t, r.Digest, 64)

	p.tokens = 1 << 20
	_, err = p.run(t.Context(), &out, 1)
	require.ErrorContains(t, err, "are wanted")
}

func TestPerplexityFaults(t *testing.T) {
	t.Setenv("CRAYON_TEST_MODEL", filepath.Join(t.TempDir(), "none.gguf"))
	good := perplexity{data: dataFolder(t), model: oracle.Models[0], out: t.TempDir(), tokens: 300}
	for name, c := range map[string]struct {
		change func(*perplexity)
		hint   string
		exit   int
	}{
		"no folder named": {func(p *perplexity) { p.data = "" }, "CRAYON_DATA", fault.ExitUsage},
		"no such folder":  {func(p *perplexity) { p.data = filepath.Join(t.TempDir(), "none") }, "name a folder", fault.ExitFailed},
		"unknown level":   {func(p *perplexity) { p.levels = "plain,fast" }, kernel.Variable, fault.ExitUsage},
		"no model":        {func(*perplexity) {}, "crayon pull", fault.ExitFailed},
	} {
		p := good
		c.change(&p)
		_, err := p.run(t.Context(), &bytes.Buffer{}, 1)
		require.Error(t, err, name)
		require.Contains(t, fault.Hint(err), c.hint, name)
		require.Equal(t, c.exit, fault.Code(err), name)
	}
}
