package llama_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/testmodel"
	"crayon/test/llamacpp/fetch"
	"crayon/test/llamacpp/llama"
)

// open loads the libraries, or skips when they are not on this machine.
func open(t *testing.T) *llama.Library {
	t.Helper()
	dir, ok := fetch.Present()
	if !ok {
		t.Skip("llama.cpp's libraries are not here: go -C test/llamacpp run ./cmd/fetch")
	}
	lib, err := llama.Open(dir)
	require.NoError(t, err)
	return lib
}

func load(t *testing.T) *llama.Model {
	t.Helper()
	lib := open(t)
	m, err := lib.Load(testmodel.Path(t))
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

func context(t *testing.T, m *llama.Model, o llama.ContextOptions) *llama.Context {
	t.Helper()
	c, err := m.NewContext(o)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// scores keeps a copy of every row of logits.
func scores(t *testing.T, c *llama.Context, tokens []int32) [][]float32 {
	t.Helper()
	var rows [][]float32
	require.NoError(t, c.Score(tokens, func(_ int, logits []float32) error {
		rows = append(rows, slices.Clone(logits))
		return nil
	}))
	return rows
}

const prompt = "<|im_start|>user\nWhich planet is closest to the sun?<|im_end|>\n<|im_start|>assistant\n"

func TestSameLogitsTwice(t *testing.T) {
	m := load(t)
	tokens, err := m.Tokenize(prompt, true)
	require.NoError(t, err)
	require.Greater(t, len(tokens), 10)
	c := context(t, m, llama.ContextOptions{Tokens: 256, Threads: 2})
	first := scores(t, c, tokens)
	require.Len(t, first, len(tokens))
	require.Len(t, first[0], m.Vocab())
	require.Equal(t, first, scores(t, c, tokens))
	best := slices.Index(first[len(first)-1], slices.Max(first[len(first)-1]))
	require.NotZero(t, best)
}

// A prefix shared by copying its cells must score a continuation as a plain
// evaluation of the whole text does.
func TestSharedPrefix(t *testing.T) {
	m := load(t)
	prefix, err := m.Tokenize(prompt, true)
	require.NoError(t, err)
	branches := [][]int32{}
	for _, s := range []string{"Mercury", "The planet Venus", "Mars"} {
		ids, err := m.Tokenize(s, false)
		require.NoError(t, err)
		branches = append(branches, ids)
	}
	exact := llama.ContextOptions{Tokens: 512, Threads: 2, Sequences: 4, Exact: true}
	c := context(t, m, exact)
	require.NoError(t, c.Decode(llama.Run(0, 0, prefix, false)))
	var in []llama.Input
	ends := make([]int, len(branches))
	for i, b := range branches {
		c.Copy(0, i+1, 0, -1)
		in = append(in, llama.Run(i+1, len(prefix), b, false)...)
		ends[i] = len(in) - 1
	}
	require.NoError(t, c.Decode(in))
	shared := make([][]float32, len(branches))
	for i, e := range ends {
		row, err := c.Logits(e)
		require.NoError(t, err)
		shared[i] = slices.Clone(row)
	}
	for i, b := range branches {
		rows := scores(t, c, append(slices.Clone(prefix), b...))
		whole := rows[len(rows)-1]
		worst := 0.0
		for j := range whole {
			worst = max(worst, math.Abs(float64(whole[j]-shared[i][j])))
		}
		require.Less(t, worst, 0.5, "branch %d", i) // activations are quantised, so batches of other shapes differ a little
	}
	require.True(t, c.Remove(0, 0, -1))
}

func TestRefusals(t *testing.T) {
	lib := open(t)
	junk := filepath.Join(t.TempDir(), "junk.gguf")
	require.NoError(t, os.WriteFile(junk, []byte("not a model"), 0o644))
	_, err := lib.Load(junk)
	require.ErrorContains(t, err, "junk.gguf")
	require.Error(t, lib.Quantize(junk, junk+".out", llama.FileQ4_0, 1))
	_, err = llama.Open(t.TempDir())
	require.ErrorContains(t, err, "already loaded")

	m := load(t)
	_, err = m.LoadAdapter(junk)
	require.ErrorContains(t, err, "junk.gguf")
	c := context(t, m, llama.ContextOptions{Tokens: 64, Batch: 8, Threads: 1})
	require.Error(t, c.Decode(nil))
	require.Error(t, c.Decode(llama.Run(0, 0, make([]int32, 9), true)))
	require.Error(t, c.Decode(llama.Run(0, 0, []int32{int32(m.Vocab())}, true)))
	require.Error(t, c.Decode(llama.Run(1, 0, []int32{1}, true)))
	require.NoError(t, c.Decode(llama.Run(0, 0, []int32{1, 2}, false)))
	_, err = c.Logits(0)
	require.Error(t, err)
}
