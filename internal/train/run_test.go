package train

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/arch"
	"crayon/internal/fault"
)

func smallRun() (Config, arch.Config, []Example) {
	a := tiny("llama")
	shapes := make([][]int, 24)
	for i := range shapes {
		shapes[i] = []int{3 + 5*i%17, 2, 1 + i%3, 3}[:2+i%3]
	}
	c := Config{Adapters: 2, Rank: 2, SharedRank: 1, Epochs: 2, StepTokens: 90, MicroTokens: 20, Seed: 4, LearningRate: 1e-2}
	return c, a, randomExamples(a, 2, 6, shapes...)
}

func bits(x []float32) []uint32 {
	var list []uint32
	for _, v := range x {
		list = append(list, math.Float32bits(v))
	}
	return list
}

func TestSameBitsForAnyWorkers(t *testing.T) {
	c, a, examples := smallRun()
	w := random(a, 2)
	var want []uint32
	for _, workers := range []int{1, 2, 3, 8} {
		c.Workers = workers
		p, err := Run(t.Context(), c, w, examples)
		require.NoError(t, err)
		if want == nil {
			want = bits(p.Values)
			continue
		}
		require.Equal(t, want, bits(p.Values), "%d workers", workers)
	}
}

func TestResumedRunEqualsUninterrupted(t *testing.T) {
	c, a, examples := smallRun()
	w := random(a, 2)
	var steps int
	c.Progress = func(p Progress) { steps = p.Steps }
	whole, err := Run(t.Context(), c, w, examples)
	require.NoError(t, err)
	require.Greater(t, steps, 5)

	dir := t.TempDir()
	c.Checkpoint, c.Log, c.Plot = filepath.Join(dir, "run.ckpt"), filepath.Join(dir, "loss.jsonl"), filepath.Join(dir, "loss.svg")
	for _, stop := range []int{1, 4} { // two interruptions
		ctx, cancel := context.WithCancel(t.Context())
		c.Workers = 1 + stop%2
		c.Progress = func(p Progress) {
			if p.Step == stop {
				cancel()
			}
		}
		_, err = Run(ctx, c, w, examples)
		require.ErrorIs(t, err, context.Canceled)
		require.Contains(t, fault.Hint(err), "goes on")
	}
	// A step logged after the checkpoint was written is done again, and logged once.
	log, err := os.OpenFile(c.Log, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = log.WriteString("{\"step\":5,\"loss\":99}\n{\"ste")
	require.NoError(t, errors.Join(err, log.Close()))

	first := 0
	c.Progress = func(p Progress) {
		if first == 0 {
			first = p.Step
		}
	}
	p, err := Run(t.Context(), c, w, examples)
	require.NoError(t, err)
	require.Equal(t, 5, first, "first step after the second interruption")
	require.Equal(t, bits(whole.Values), bits(p.Values))

	text, err := os.ReadFile(c.Log)
	require.NoError(t, err)
	require.Equal(t, steps, strings.Count(string(text), "\n"))
	require.NotContains(t, string(text), `"loss":99}`)
	picture, err := os.ReadFile(c.Plot)
	require.NoError(t, err)
	require.Contains(t, string(picture), "<svg")
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, left, 3, "%v", left)

	again, err := Run(t.Context(), c, w, examples) // nothing is left to do
	require.NoError(t, err)
	require.Equal(t, bits(p.Values), bits(again.Values))
}

func TestCheckpointRefusals(t *testing.T) {
	c, a, examples := smallRun()
	w := random(a, 2)
	c.Checkpoint = filepath.Join(t.TempDir(), "run.ckpt")
	_, err := Run(t.Context(), c, w, examples)
	require.NoError(t, err)
	whole, err := os.ReadFile(c.Checkpoint)
	require.NoError(t, err)

	other := c
	other.LearningRate = 5e-3
	_, err = Run(t.Context(), other, w, examples)
	require.ErrorContains(t, err, "LearningRate was 0.01 and is now 0.005")
	changed := slices.Clone(examples)
	changed[3].Prompt = append([]int32{1}, changed[3].Prompt...)
	_, err = Run(t.Context(), c, w, changed)
	require.ErrorContains(t, err, "DataDigest")
	_, err = Run(t.Context(), c, random(a, 3), examples)
	require.ErrorContains(t, err, "ModelDigest")

	for name, damage := range map[string]func([]byte) []byte{
		"empty":      func([]byte) []byte { return nil },
		"cut":        func(b []byte) []byte { return b[:len(b)-5] },
		"a bit":      func(b []byte) []byte { b[len(b)-40] ^= 1; return b },
		"the magic":  func(b []byte) []byte { b[0]++; return b },
		"the header": func(b []byte) []byte { b[len(magic)+3] = 0xff; return b },
	} {
		require.NoError(t, os.WriteFile(c.Checkpoint, damage(slices.Clone(whole)), 0o666))
		_, err := Run(t.Context(), c, w, examples)
		require.Error(t, err, name)
		require.NotEmpty(t, fault.Hint(err), name)
	}
}

// The right answers are one token, the wrong ones another: what the prompt is
// does not matter, so any adapter can learn it.
func TestLearns(t *testing.T) {
	a := tiny("qwen2")
	examples := randomExamples(a, 1, 3, slices.Repeat([][]int{{6, 2, 2, 2}}, 40)...)
	for i, e := range examples {
		for j, answer := range e.Answers {
			answer[0], answer[1] = int32(10+(j+i*j)%5), 2
			if j == 0 {
				answer[0] = 3
			}
		}
	}
	var last Progress
	first := math.NaN()
	c := Config{Adapters: 1, Rank: 2, Epochs: 30, StepTokens: 150, MicroTokens: 80, LearningRate: 3e-2, Progress: func(p Progress) {
		if math.IsNaN(first) {
			first = p.Loss
		}
		last = p
	}}
	p, err := Run(t.Context(), c, random(a, 2), examples)
	require.NoError(t, err)
	require.Less(t, last.Loss, 0.2*first)
	require.Greater(t, last.RankAccuracy, 0.9)
	require.Equal(t, last.Steps, last.Step)
	require.Zero(t, last.Left)
	list := p.List([]string{"only"})
	require.Len(t, list, 1)
	require.Equal(t, "only", list[0].Name)
}

func TestBadInputIsRefused(t *testing.T) {
	c, a, examples := smallRun()
	w := random(a, 2)
	with := func(change func(e *Example)) []Example {
		list := slices.Clone(examples)
		change(&list[5])
		return list
	}
	config := func(change func(c *Config)) Config {
		c := c
		change(&c)
		return c
	}
	for _, x := range []struct {
		name     string
		config   Config
		examples []Example
	}{
		{"no examples", c, nil},
		{"prompt is empty", c, with(func(e *Example) { e.Prompt = nil })},
		{"no answer", c, with(func(e *Example) { e.Answers = nil })},
		{"an answer is empty", c, with(func(e *Example) { e.Answers = [][]int32{{1}, {}} })},
		{"vocabulary", c, with(func(e *Example) { e.Prompt = []int32{int32(a.Vocab)} })},
		{"vocabulary", c, with(func(e *Example) { e.Answers = [][]int32{{-1}} })},
		{"weights", c, with(func(e *Example) { e.Weights = []float32{1} })},
		{"not finite", c, with(func(e *Example) { e.Weights = []float32{1, float32(math.NaN())} })},
		{"learning rate", config(func(c *Config) { c.LearningRate = -1 }), examples},
		{"nothing to train", config(func(c *Config) { c.Adapters, c.SharedRank = 0, 0 }), examples},
		{"of rank 0", config(func(c *Config) { c.Rank = 0 }), examples},
		{"stacked rank", config(func(c *Config) { c.Rank = 1 << 30 }), examples},
		{"loss", config(func(c *Config) { c.Loss = "other" }), examples},
		{"leave no room", config(func(c *Config) { c.MaxTokens = 96 }), examples},
		{"context", config(func(c *Config) { c.MaxTokens = 513 }), examples},
	} {
		_, err := Run(t.Context(), x.config, w, x.examples)
		require.ErrorContains(t, err, x.name)
	}
}

func TestScheduleHoldsEveryExampleOnceAnEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tasks := make([]Task, rapid.IntRange(1, 60).Draw(t, "examples"))
		for i := range tasks {
			tasks[i].Tokens = rapid.IntRange(1, 50).Draw(t, "tokens")
		}
		c := Config{
			Epochs: rapid.IntRange(1, 3).Draw(t, "epochs"), StepTokens: rapid.IntRange(1, 400).Draw(t, "step"),
			MicroTokens: rapid.IntRange(1, 100).Draw(t, "micro"), Bucket: rapid.IntRange(0, 20).Draw(t, "bucket"),
		}
		seen := make([]int, len(tasks))
		steps := schedule(c, tasks)
		for _, s := range steps {
			tokens, examples := 0, 0
			for _, m := range s.Micro {
				if len(m) == 0 {
					t.Fatal("an empty micro-batch")
				}
				for _, i := range m {
					seen[i]++
					tokens += tasks[i].Tokens
					examples++
				}
			}
			if tokens != s.Tokens || examples != s.Examples {
				t.Fatalf("%+v holds %d tokens, %d examples", s, tokens, examples)
			}
		}
		for i, n := range seen {
			if n != c.Epochs {
				t.Fatalf("example %d is in %d steps, want %d", i, n, c.Epochs)
			}
		}
	})
}

func TestTasksAreCutToSize(t *testing.T) {
	c := Config{SharedRank: 1, MaxTokens: 10, MaxAnswer: 4}.withDefaults()
	e := Example{Prompt: []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, Answers: [][]int32{{1, 2}, {1, 2, 3, 4, 5, 6}}}
	p := NewParams(tiny("llama"), c)
	got := newTask(c, p, e)
	require.Equal(t, []int32{4, 5, 6, 7, 8, 9}, got.Tree.Prefix, "room for the longest answer, cut to 4")
	require.Equal(t, [][]int32{{1, 2}, {1, 2, 3, 4}}, got.Answers)
	require.Equal(t, [][]int32{{1}, {1, 2, 3}}, got.Tree.Branch)
	require.Equal(t, 10, got.Tokens)
	c.Loss = LM
	require.Len(t, newTask(c, p, e).Answers, 1)
}

func TestLearningRate(t *testing.T) {
	c := Config{}.withDefaults()
	require.InDelta(t, c.LearningRate/50, c.rate(0, 10000), 1e-9)
	require.InDelta(t, c.LearningRate, c.rate(50, 10000), 1e-6)
	require.InDelta(t, c.LearningRate*floor, c.rate(9999, 10000), 1e-6)
	require.InDelta(t, c.LearningRate, c.rate(4, 100), 1e-5, "5 %% of 100 steps")
}

// The stack with its weights is the sum of the single adapters.
func TestListTakesTheStackApart(t *testing.T) {
	a := tiny("qwen2")
	c := Config{Adapters: 3, Rank: 2, SharedRank: 4}.withDefaults()
	p := NewParams(a, c)
	for i := range p.Values {
		p.Values[i] += float32(i%7) / 3
	}
	weights := []float32{0.5, 0.3, -0.2}
	row := p.Row(weights)
	list := p.List([]string{"all", "one"})
	require.Equal(t, "all", list[0].Name)
	require.Equal(t, "adapter-3", list[3].Name)
	for s := range arch.Slot(a.Slots()) {
		out, in := a.Shape(s.Kind())
		for o := range out {
			i := o % in
			var want, got float64
			for r := range p.Stacked() {
				want += float64(p.B(s)[o*p.Stacked()+r]) * float64(row[r]) * float64(p.A(s)[r*in+i])
			}
			for k, one := range list {
				w := float32(1)
				if k > 0 {
					w = weights[k-1]
				}
				pair := one.Pairs[s]
				for r := range pair.Rank {
					got += float64(w) * float64(one.Scale) * float64(pair.B[o*pair.Rank+r]) * float64(pair.A[r*in+i])
				}
			}
			require.InDelta(t, want, got, 1e-4)
		}
	}
}
