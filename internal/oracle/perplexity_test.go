package oracle

import (
	"compress/gzip"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
	"crayon/internal/qa"
	"crayon/internal/testmodel/tiny"
)

// folder is a data folder of two sets of n rows each.
func folder(t *testing.T, n int) *qa.Data {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"first", "second"} {
		path := filepath.Join(dir, name, "test.jsonl.gz")
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		f, err := os.Create(path)
		require.NoError(t, err)
		w := gzip.NewWriter(f)
		for i := range n {
			question := fmt.Sprintf("where is hat %d of the %s?", i, name)
			if i%10 == 9 {
				question = strings.Repeat("too long ", 100)
			}
			fmt.Fprintf(w, `{"dataset":%q,"id":"%d","question":%q,"choices":["here","there %d"],"answer":%d}`+"\n", name, i, question, i, i%2)
		}
		require.NoError(t, w.Close())
		require.NoError(t, f.Close())
	}
	data, err := qa.Open(dir)
	require.NoError(t, err)
	return data
}

func TestPassages(t *testing.T) {
	s := open(t, tiny.Model(t, tiny.Config, gguf.Q8_0))
	data := folder(t, 100)
	p, err := NewPassages(s.Tokenizer, data, 3000, 1)
	require.NoError(t, err)
	total := 0
	for _, text := range p.Texts {
		require.GreaterOrEqual(t, len(text), leastPassage)
		require.LessOrEqual(t, len(text), mostPassage)
		total += len(text)
		words := s.Tokenizer.Decode(text)
		require.True(t, strings.HasPrefix(words, "<|im_start|>user\nwhere is hat"), words)
		require.Contains(t, words, "\nOptions:\n- here\n- there")
		require.Contains(t, words, "<|im_start|>assistant\n")
		require.NotContains(t, words, "too long")
		require.True(t, strings.HasSuffix(words, "<|im_end|>\n"), words)
	}
	require.Equal(t, total, p.Tokens)
	require.GreaterOrEqual(t, total, 3000)
	require.Less(t, total, 3000+mostPassage)
	require.InDelta(t, p.Rows["first"], p.Rows["second"], 3, "every set has its turn")

	again, err := NewPassages(s.Tokenizer, data, 3000, 1)
	require.NoError(t, err)
	require.Equal(t, p, again)
	other, err := NewPassages(s.Tokenizer, data, 3000, 2)
	require.NoError(t, err)
	require.NotEqual(t, p.Texts, other.Texts)

	_, err = NewPassages(s.Tokenizer, data, 1_000_000, 1)
	require.ErrorContains(t, err, "1000000 are wanted")
	require.Equal(t, fault.ExitUsage, fault.Code(err))
}

func TestPerplexityOfEveryLevel(t *testing.T) {
	s := open(t, tiny.Model(t, tiny.Config, gguf.Q8_0))
	was := kernel.Current()
	var told []int
	levels := kernel.Levels()
	all, err := s.Perplexity(t.Context(), s.Texts[:2], levels, func(done int) { told = append(told, done) })
	require.NoError(t, err)
	require.Equal(t, was, kernel.Current())
	require.Equal(t, []int{1, 2}, told)
	require.Len(t, all, len(levels))
	for i, f := range all {
		require.Equal(t, levels[i].String(), f.Level)
		require.Equal(t, len(s.Texts[0])+len(s.Texts[1]), f.Tokens)
		require.InDelta(t, f.Perplexity/f.ReferencePerplexity, 1+f.Difference, 1e-12)
		require.Less(t, math.Abs(f.Difference), 0.05, "a random model is far more uncertain of its next token")
		require.Equal(t, all[0].ReferencePerplexity, f.ReferencePerplexity)
		require.Positive(t, f.KL)
	}
	alone, err := s.Perplexity(t.Context(), s.Texts[:2], levels[:1], nil)
	require.NoError(t, err)
	require.Equal(t, all[:1], alone, "a level's figures do not depend on the others")

	_, err = s.Perplexity(t.Context(), s.Texts[:1], []kernel.Level{250}, nil)
	require.Equal(t, fault.ExitUsage, fault.Code(err))
	require.Equal(t, was, kernel.Current())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Perplexity(ctx, s.Texts[:1], levels, nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestPerplexityMiss(t *testing.T) {
	good := LevelFigures{Level: "plain", Difference: 0.004, Figures: Figures{Tokens: 100}}
	require.NoError(t, good.Miss(100))
	for _, difference := range []float64{0.0051, -0.0051, math.NaN(), math.Inf(1)} {
		f := good
		f.Difference = difference
		require.Equal(t, fault.ExitVerify, fault.Code(f.Miss(100)), difference)
	}
	require.ErrorContains(t, good.Miss(101), "at least 101")
}
