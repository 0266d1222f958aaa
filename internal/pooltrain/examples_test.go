package pooltrain

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/pool"
	"crayon/internal/qa"
	"crayon/internal/task"
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
				require.NotContains(t, before, options, "labels are listed once, at the question")
			}
		}
	}
	require.Greater(t, longest, 1)
	require.NotEqual(t, plain, shown)

	// Where there is room for fewer, the first are left out.
	few, _ := examplesOf(t, false, func(r *Recipe) { r.MaxTokens, r.Shots = 128, 1 })
	shorter := 0
	for i, e := range few {
		if len(e.Prompt) > len(plain[i].Prompt) {
			require.LessOrEqual(t, len(e.Prompt)+len(e.Answers[0]), 128)
		} else {
			require.Equal(t, plain[i].Prompt, e.Prompt)
		}
		if len(e.Prompt) < len(shown[i].Prompt) {
			shorter++
			require.Equal(t, e.Prompt, shown[i].Prompt[len(shown[i].Prompt)-len(e.Prompt):])
		}
	}
	require.Positive(t, shorter)
}

// Of a dozen rows the nearest are worked, the nearest last.
func TestShotsAreTheNearest(t *testing.T) {
	o := options(t)
	o.Recipe.Shots, o.Recipe.MaxTokens = 1, 400
	r, err := start(t.Context(), o)
	require.NoError(t, err)
	defer r.model.Close()
	require.NoError(t, r.rows())
	require.NoError(t, r.features())
	b := newBuilder(&r.form, &r.o.Recipe, r.picked, r.directions)
	of := map[string]int{}
	for i := range r.picked {
		of[task.Text(r.picked[i].Question, r.picked[i].Context, nil)+"\x00"+r.picked[i].Gold()] = i
	}
	several := 0
	for i := range r.picked {
		shots := b.shots(i, r.picked[i].Choices, 3, rand.New(rand.NewPCG(1, uint64(i))))
		last := float32(-2)
		for _, s := range shots {
			j, ok := of[s.Text+"\x00"+s.Answer]
			require.True(t, ok, s)
			c := pool.Cosine(r.directions[i], r.directions[j])
			require.GreaterOrEqual(t, c, last)
			last = c
			several++
		}
	}
	require.Greater(t, several, 20)
}

func TestTopics(t *testing.T) {
	var rows []qa.Labelled
	for i := range 400 {
		rows = append(rows, qa.Labelled{Row: qa.Row{Dataset: "quiz", Subject: []string{"high_school", "for-kids", "law", "art"}[i%4], ID: fmt.Sprint(i), Question: fmt.Sprint("q", i), Choices: []string{"a", "b"}}})
	}
	rows = append(rows, qa.Labelled{Row: qa.Row{Dataset: "plain", Question: "x", Choices: []string{"a", "b"}}})
	require.Empty(t, topics(rows, 0, 1))
	got := topics(rows, 0.25, 1)
	require.InDelta(t, 100, len(got), 30)
	for _, r := range got {
		var i int
		_, err := fmt.Sscanf(r.Question, "q%d", &i)
		require.NoError(t, err)
		require.Equal(t, []string{"art", "for kids", "high school", "law"}, r.Labels)
		require.Equal(t, spoken(rows[i].Subject), r.Gold())
		require.NotEqual(t, rows[i].Subject, r.Subject)
	}
	require.Equal(t, got, topics(rows, 0.25, 1))
	require.Empty(t, topics(rows[:3], 1, 1), "three subjects are no label task")
}

// By letter a question holds its choices, the right answer is the letter of the
// gold, and worked examples are asked alike.
func TestLetters(t *testing.T) {
	const system = "Answer with a letter."
	golds := map[string]string{}
	plain, tok := examplesOf(t, false, func(*Recipe) {})
	for _, e := range plain {
		question, _, _ := strings.Cut(tok.Decode(e.Prompt), "<|im_end|>")
		question, _, _ = strings.Cut(question, "\nOptions:")
		golds[strings.TrimPrefix(question, "<|im_start|>user\n")] = strings.TrimSuffix(tok.Decode(e.Answers[0]), "<|im_end|>")
	}
	examples, tok := examplesOf(t, false, func(r *Recipe) { r.Letters, r.System, r.ListedShare, r.Shots, r.MaxTokens = true, system, 0, 0.5, 400 })
	require.NotEmpty(t, examples)
	letters, shown := map[string]int{}, 0
	for _, e := range examples {
		text, ok := strings.CutPrefix(tok.Decode(e.Prompt), "<|im_start|>system\n"+system+"<|im_end|>\n<|im_start|>user\n")
		require.True(t, ok)
		answer := tok.Decode(e.Answers[0])
		turns := strings.Split(text, "<|im_start|>user\n")
		shown += len(turns) - 1
		for i, turn := range turns {
			turn, said, _ := strings.Cut(turn, "<|im_end|>\n<|im_start|>assistant\n")
			if i == len(turns)-1 {
				said = answer
			}
			letter, _, _ := strings.Cut(said, "<|im_end|>")
			question, choices, ok := strings.Cut(turn, "\n\nA. ")
			require.True(t, ok, turn)
			_, gold, ok := strings.Cut("\nA. "+choices+"\n", "\n"+letter+". ")
			require.True(t, ok, "%q of %q", letter, choices)
			gold, _, _ = strings.Cut(gold, "\n")
			require.Equal(t, golds[strings.ReplaceAll(question, "\n\n", "\n")], gold) // a context is set apart
		}
		letters[answer]++
	}
	require.Positive(t, shown)
	require.Greater(t, len(letters), 1, "the right one is not always the first")
}
