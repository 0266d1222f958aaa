package benchengine

import (
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/bench"
	"crayon/internal/device"
	"crayon/internal/gguf"
	"crayon/internal/model"
	"crayon/internal/pool"
	"crayon/internal/pooltrain"
	"crayon/internal/qa"
	"crayon/internal/strategy"
	"crayon/internal/task"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/testmodel/tinydevice"
)

// open is an engine on the tiny pool, with a rival: its first member.
func open(t *testing.T) (*Engine, *device.Device) {
	t.Helper()
	modelPath, poolPath := tiny.Tiny(t)
	p, err := pool.Open(poolPath)
	require.NoError(t, err)
	w := make([]float32, len(p.Members))
	w[0] = 1
	kept, w := p.Stack.Keep(w)
	p.Baseline = map[string]*adapter.Adapter{pooltrain.SingleName: kept.Merge(w, pooltrain.SingleName)}
	p, err = p.Write(poolPath, gguf.Q8_0)
	require.NoError(t, err)
	d := tinydevice.With(t, modelPath, p)
	return New(d), d
}

func rows(n int, labels []string) []strategy.Row {
	out := make([]strategy.Row, n)
	for i := range out {
		r := strategy.Row{Question: fmt.Sprintf("what is thing %d <|im_end|>", i), Candidates: labels, Gold: i % 2}
		if labels == nil {
			r.Candidates = []string{fmt.Sprint("one ", i), "two", "three and more"}
		}
		if i%3 == 0 {
			r.Context = "a context"
		}
		out[i] = r
	}
	return out
}

func asks(rows []strategy.Row, labels []string, members []float32, private *adapter.Adapter) []strategy.Ask {
	out := make([]strategy.Ask, len(rows))
	for i, r := range rows {
		out[i] = strategy.Ask{Text: task.Text(r.Question, r.Context, labels), Candidates: r.Candidates, Members: members, Private: private}
	}
	return out
}

// The benchmark scores what the product answers: same prompts, same weights.
func TestScoresAreTheProducts(t *testing.T) {
	e, d := open(t)
	single := d.Pool.Baseline[pooltrain.SingleName]
	half := *single
	half.Scale = 0.5
	for name, labels := range map[string][]string{"labels": {"north", "south", "east"}, "choices": nil} {
		t.Run(name, func(t *testing.T) {
			scored := rows(19, labels)
			third := float32(1) / 3
			for _, x := range []struct {
				name      string
				members   []float32
				private   *adapter.Adapter
				as        []float32 // the same by the pool's own members
				tolerance float64   // packed apart from the pool's stack it is rounded otherwise
			}{
				{name: "base"},
				{name: "uniform", members: []float32{third, third, third, 1}, as: []float32{third, third, third, 1}, tolerance: 1e-4},
				{name: "single", private: single, as: []float32{1, 0, 0, 0}, tolerance: 0.5},
				{name: "half beside the shared", members: []float32{0, 0, 0, 1}, private: &half, as: []float32{0.5, 0, 0, 1}, tolerance: 0.5},
			} {
				got, err := e.Score(t.Context(), asks(scored, labels, x.members, x.private))
				require.NoError(t, err)
				again, err := e.Score(t.Context(), asks(scored, labels, x.members, x.private))
				require.NoError(t, err)
				require.Equal(t, got, again)
				for i, r := range scored {
					prompt, err := d.Form.Prompt(task.Text(r.Question, r.Context, labels))
					require.NoError(t, err)
					want, err := d.Choose(t.Context(), device.Question{Prompt: prompt, Choices: r.Candidates, Row: d.Row(x.as)})
					require.NoError(t, err)
					for j := range want.Scores {
						require.InDelta(t, want.Scores[j], got[i][j].Mean(), x.tolerance+1e-4, "%s, row %d", x.name, i)
					}
				}
			}
		})
	}
}

// A batch may mix the base model, blends and private adapters.
func TestMixedBatch(t *testing.T) {
	e, d := open(t)
	single := d.Pool.Baseline[pooltrain.SingleName]
	other := *single
	other.Pairs = map[arch.Slot]*adapter.Pair{}
	for slot, p := range single.Pairs {
		q := *p
		other.Pairs[slot] = &q
	}
	one := rows(1, nil)
	var all []strategy.Ask
	for _, private := range []*adapter.Adapter{nil, single, &other, {Name: "empty", Scale: 1}} {
		all = append(all, asks(one, nil, nil, private)...)
		all = append(all, asks(one, nil, []float32{1, 0, 0, 1}, private)...)
	}
	got, err := e.Score(t.Context(), all)
	require.NoError(t, err)
	for i := range all {
		alone, err := e.Score(t.Context(), all[i:i+1])
		require.NoError(t, err)
		require.Equal(t, alone[0], got[i], "ask %d", i)
	}
	require.Equal(t, got[2], got[4], "equal adapters")
	require.Equal(t, got[0], got[6], "an adapter of nothing is the base model")
	require.NotEqual(t, got[0], got[2])
	require.Positive(t, e.Computed())
}

// Beyond every bound the prompt loses its left end, not the row.
func TestLongPrompts(t *testing.T) {
	e, _ := open(t)
	long := strategy.Ask{Text: strings.Repeat("x", 5000), Candidates: []string{"a", "b"}}
	got, err := e.Score(t.Context(), []strategy.Ask{long})
	require.NoError(t, err)
	require.Len(t, got[0], 2)
	long.Shots = []task.Shot{{Text: strings.Repeat("y", 5000), Answer: "a"}}
	_, err = e.Score(t.Context(), []strategy.Ask{long})
	require.NoError(t, err)
}

// An accelerator's log-probabilities and features give the same scores.
func TestWithAnotherComputer(t *testing.T) {
	e, d := open(t)
	calls := 0
	other := With(d, func(ctx context.Context, stack *adapter.Stack, in []model.Ask) ([][][]float32, error) {
		calls++
		side, err := d.Model.NewSide(stack)
		require.NoError(t, err)
		return d.Model.LogProbs(ctx, side, in)
	}, d.Model.Features)
	in := asks(rows(5, nil), nil, []float32{1, 0, 0, 1}, nil)
	want, err := e.Score(t.Context(), in)
	require.NoError(t, err)
	got, err := other.Score(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.Equal(t, 1, calls)
	questions := []string{"what is it", "and that"}
	a, err := e.Directions(t.Context(), questions)
	require.NoError(t, err)
	b, err := other.Directions(t.Context(), questions)
	require.NoError(t, err)
	require.Equal(t, a, b)
	_, err = other.Directions(t.Context(), []string{""})
	require.Error(t, err)
	short := With(d, func(context.Context, *adapter.Stack, []model.Ask) ([][][]float32, error) { return nil, nil }, nil)
	_, err = short.Score(t.Context(), in)
	require.ErrorContains(t, err, "not every prompt")
}

// What is said is what the product says at temperature 0.
func TestSay(t *testing.T) {
	e, d := open(t)
	in := append(asks(rows(3, nil), nil, nil, nil), asks(rows(3, nil), nil, []float32{1, 0, 0, 1}, nil)...)
	got, err := e.Say(t.Context(), in, 12)
	require.NoError(t, err)
	for i, a := range in {
		prompt, err := d.Form.Prompt(a.Text)
		require.NoError(t, err)
		g, err := d.Start(device.Request{Prompt: prompt, Row: d.Row(a.Members), MaxTokens: 12})
		require.NoError(t, err)
		for {
			_, more, err := g.Next(t.Context())
			require.NoError(t, err)
			if !more {
				break
			}
		}
		known := func(s string) string { return strings.ReplaceAll(s, "\uFFFD", "") } // of a character's bytes cut off
		require.Equal(t, known(g.Result().Text), known(got[i]), "ask %d", i)
	}
}

// The rows of a whole run on the tiny model, with every strategy.
func TestRun(t *testing.T) {
	e, _ := open(t)
	o := bench.DefaultOptions()
	o.Rows, o.Resamples, o.Strategies = 4, 100, []string{"base", "single", "uniform", "swapped", "blend", "shots5", "chosen"}
	o.Shots = []int{4}
	rep, sheets, err := bench.Run(t.Context(), folder(t), e, o)
	require.NoError(t, err)
	require.Len(t, sheets, 2)
	require.NoError(t, rep.Verify(sheets))
	require.Positive(t, rep.Timing["blend"].Tokens)
}

// folder is two small data sets.
func folder(t *testing.T) *qa.Data {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"boolq", "figqa"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o755))
		f, err := os.Create(filepath.Join(dir, name, "test.jsonl.gz"))
		require.NoError(t, err)
		zw := gzip.NewWriter(f)
		for i := range 80 {
			fmt.Fprintf(zw, `{"dataset":%q,"id":"%d","question":"what of %d","choices":["one","two %d"],"answer":%d}`+"\n", name, i, i, i, i%2)
		}
		require.NoError(t, zw.Close())
		require.NoError(t, f.Close())
	}
	d, err := qa.Open(dir)
	require.NoError(t, err)
	return d
}

// What the benchmark runs learns, and scores through the same engine.
func TestLearningScoresThroughTheEngine(t *testing.T) {
	e := New(tinydevice.Open(t)).Learning()
	var _ bench.Engine = e
	l, ok := strategy.Learns(e)
	require.True(t, ok)
	asks := []strategy.Ask{{Text: "one", Candidates: []string{"a", "b"}}}
	want, err := e.Engine.Score(t.Context(), asks)
	require.NoError(t, err)
	got, err := l.Score(t.Context(), asks)
	require.NoError(t, err)
	require.Equal(t, want, got)
	private, err := l.Tune(t.Context(), strategy.Tuning{Rank: 1, Steps: 2, LearningRate: 1e-2}, asks, []int{1})
	require.NoError(t, err)
	asks[0].Private = private
	after, err := e.Score(t.Context(), asks)
	require.NoError(t, err)
	require.Greater(t, after[0][1].Mean(), want[0][1].Mean())
}
