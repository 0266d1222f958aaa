package pooltrain

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/tokenizer"
	"crayon/internal/train"
)

// examplesOf are the examples that a recipe makes of the test's data.
func examplesOf(t *testing.T, features bool, change func(*Recipe)) ([]train.Example, *tokenizer.Tokenizer) {
	t.Helper()
	o := options(t)
	change(&o.Recipe)
	r, err := start(t.Context(), o)
	require.NoError(t, err)
	defer r.model.Close()
	require.NoError(t, r.rows())
	if features {
		require.NoError(t, r.features())
		require.NoError(t, r.indicators())
	}
	require.NoError(t, r.examples())
	return r.data, r.tokens
}

// A recipe without the newer keys makes the examples that it made before they
// were there: this digest is of then.
func TestExamplesStay(t *testing.T) {
	examples, _ := examplesOf(t, false, func(*Recipe) {})
	h := sha256.New()
	for _, e := range examples {
		fmt.Fprintln(h, e.Prompt, e.Answers)
	}
	require.Equal(t, "da75ba49a0419fc1", fmt.Sprintf("%x", h.Sum(nil)[:8]))
}

func TestNested(t *testing.T) {
	plain, _ := examplesOf(t, true, func(*Recipe) {})
	for _, share := range []float64{0.3, 0.6} {
		nested, _ := examplesOf(t, true, func(r *Recipe) { r.Nested = share })
		bare := 0
		for i, e := range nested {
			require.Equal(t, plain[i].Prompt, e.Prompt)
			require.Equal(t, plain[i].Answers, e.Answers)
			require.Len(t, e.Weights, len(plain[i].Weights))
			if e.Weights[0] == 0 && e.Weights[1] == 0 {
				bare++
				continue
			}
			require.Equal(t, plain[i].Weights, e.Weights)
		}
		require.InDelta(t, share, float64(bare)/float64(len(nested)), 0.2)
	}
}

func TestShots(t *testing.T) {
	const room = 400
	plain, _ := examplesOf(t, false, func(r *Recipe) { r.MaxTokens = room })
	shown, tok := examplesOf(t, false, func(r *Recipe) { r.MaxTokens, r.Shots, r.Nested = room, 1, 0.5 })
	longest := 0
	for i, e := range shown {
		require.Equal(t, plain[i].Answers, e.Answers)
		require.Equal(t, plain[i].Prompt, e.Prompt[len(e.Prompt)-len(plain[i].Prompt):], "the question stays last")
		text := tok.Decode(e.Prompt)
		turns := strings.Count(text, "<|im_start|>user\n") - 1
		longest = max(longest, turns)
		require.LessOrEqual(t, turns, maxShots)
		for _, a := range e.Answers {
			require.LessOrEqual(t, len(e.Prompt)+len(a), room)
		}
		question := strings.Split(tok.Decode(plain[i].Prompt), "<|im_end|>")[0]
		before := strings.TrimSuffix(text, tok.Decode(plain[i].Prompt))
		require.NotContains(t, before, question, "a row is no example of itself")
		if label := strings.Contains(question, "where does"); turns > 0 {
			require.Equal(t, label, strings.Contains(before, "where does"), "of the same task")
			if _, options, listed := strings.Cut(question, "\nOptions:"); label && listed {
				require.Equal(t, turns, strings.Count(before, "\nOptions:"+options+"<|im_end|>"), "with the labels of the question, in its order")
			}
		}
	}
	require.Greater(t, longest, 1)
	require.NotEqual(t, plain, shown)

	// Where there is room for none, there is none.
	few, _ := examplesOf(t, false, func(r *Recipe) { r.MaxTokens, r.Shots = 128, 1 })
	without := 0
	for i, e := range few {
		if len(e.Prompt) > len(plain[i].Prompt) {
			require.LessOrEqual(t, len(e.Prompt)+len(e.Answers[0]), 128)
			continue
		}
		require.Equal(t, plain[i].Prompt, e.Prompt)
		without++
	}
	require.Positive(t, without)
}
