package oracle

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/arch"
	"crayon/internal/gguf"
	"crayon/internal/testmodel"
	"crayon/internal/testmodel/tiny"
)

func open(t *testing.T, path string) *Subject {
	t.Helper()
	s, err := OpenSubject(path, 2)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Both families of model, bare and blended, at tiny size.
func TestFastFollowsTheReference(t *testing.T) {
	for _, c := range []arch.Config{tiny.Config, tiny.Qwen2()} {
		t.Run(c.Family, func(t *testing.T) {
			s := open(t, tiny.Model(t, c, gguf.Q8_0))
			s.Texts = s.Texts[:3]
			f, err := s.Fast(t.Context())
			require.NoError(t, err)
			require.Less(t, f.Base.KL, MaxKL)
			require.Less(t, f.Blend.KL, MaxKL)
			require.Positive(t, f.Base.KL, "8-bit activations cannot be exact: the engines are one and the same")
			require.GreaterOrEqual(t, f.BlendDivergence, blendLeast)
			require.LessOrEqual(t, f.BlendDivergence, blendMost)
			require.Greater(t, f.Base.Tokens, 100)
		})
	}
}

// A blend that is left out must show: the check is worth something.
func TestMissingBlendShows(t *testing.T) {
	s := open(t, tiny.Model(t, tiny.Config, gguf.F32))
	s.Texts = s.Texts[:1]
	b, divergence, err := s.RandomBlend(t.Context())
	require.NoError(t, err)
	f, err := Compare(t.Context(), s.Reference(b), s.Reference(Blend{}), s.Texts)
	require.NoError(t, err)
	require.Equal(t, divergence, f.KL)
	require.ErrorContains(t, Figures{KL: f.KL, Top1: f.Top1, Tokens: MinTokens}.Miss(MaxKL, MinTop1Blend), "kl")
	require.NoError(t, Figures{KL: 0.003, Top1: 0.97, Tokens: MinTokens}.Miss(MaxKL, MinTop1))
	require.Error(t, Figures{KL: 0.003, Top1: 0.95, Tokens: MinTokens}.Miss(MaxKL, MinTop1))
	require.Error(t, Figures{KL: 0.003, Top1: 0.97, Tokens: MinTokens - 1}.Miss(MaxKL, MinTop1))
}

func TestReport(t *testing.T) {
	t.Setenv("CRAYON_TEST_MODEL", tiny.Model(t, tiny.Config, gguf.Q8_0))
	t.Setenv("CRAYON_HOME", t.TempDir())
	var out bytes.Buffer
	seen := ""
	last, err := Report(t.Context(), &out, 2, func(alias string, s *Subject) error {
		seen, s.Texts = alias, s.Texts[:2]
		return nil
	})
	require.ErrorContains(t, err, "tokens", "two texts are too few to count")
	require.Equal(t, Models[0], seen)
	require.Regexp(t, `^oracle: kl=0\.\d{4} top1=[01]\.\d{4} tokens=\d+$`, last)
	require.Equal(t, 3, strings.Count(out.String(), "\n"), out.String())
	require.Contains(t, out.String(), "crayon pull "+Models[1])

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Report(ctx, &out, 2, nil)
	require.ErrorIs(t, err, context.Canceled)

	t.Setenv("CRAYON_TEST_MODEL", filepath.Join(t.TempDir(), "none.gguf"))
	last, err = Report(t.Context(), &out, 2, nil)
	require.ErrorContains(t, err, "none.gguf")
	require.Empty(t, last)
}

func TestRandomAdaptersRepeat(t *testing.T) {
	c := tiny.Config
	a, b := RandomAdapters(c, 2, 3, 1, 0.5), RandomAdapters(c, 2, 3, 1, 0.5)
	require.Equal(t, a, b)
	require.NotEqual(t, a[0].Pairs, a[1].Pairs)
	require.NotEqual(t, a[0].Pairs, RandomAdapters(c, 1, 3, 2, 0.5)[0].Pairs)
	require.Len(t, a[0].Pairs, c.Slots())
}

func TestTextsOfTheRealModel(t *testing.T) {
	f, err := gguf.Open(testmodel.Path(t))
	require.NoError(t, err)
	defer f.Close()
	s := &Subject{File: f}
	require.NoError(t, s.prepareTexts())
	n := 0
	for _, text := range s.Texts {
		n += len(text)
		words := s.Tokenizer.Decode(text)
		require.True(t, strings.HasPrefix(words, "<|im_start|>user\n"), words)
		require.True(t, strings.HasSuffix(words, "<|im_end|>\n"), words)
	}
	require.GreaterOrEqual(t, n, MinTokens)
}
