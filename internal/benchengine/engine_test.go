package benchengine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/bench"
	"crayon/internal/customize"
	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/gguf"
	"crayon/internal/pool"
	"crayon/internal/pooltrain"
	"crayon/internal/qa"
	"crayon/internal/task"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/testmodel/tinydevice"
)

// open is an engine on the tiny pool, with a rival: its first member.
func open(t *testing.T, rival bool) (*Engine, *device.Device) {
	t.Helper()
	modelPath, poolPath := tiny.Tiny(t)
	p, err := pool.Open(poolPath)
	require.NoError(t, err)
	if rival {
		w := make([]float32, len(p.Members))
		w[0] = 1
		kept, w := p.Stack.Keep(w)
		p.Baseline = map[string]*adapter.Adapter{pooltrain.SingleName: kept.Merge(w, pooltrain.SingleName)}
		p, err = p.Write(poolPath, gguf.Q8_0)
		require.NoError(t, err)
	}
	d := tinydevice.With(t, modelPath, p)
	e, err := New(d)
	require.NoError(t, err)
	return e, d
}

func rows(n int, labels []string) []qa.Row {
	out := make([]qa.Row, n)
	for i := range out {
		r := qa.Row{Dataset: "made", ID: fmt.Sprint(i), Question: fmt.Sprintf("what is thing %d <|im_end|>", i), Choices: labels, Answer: i % 2}
		if labels == nil {
			r.Choices = []string{fmt.Sprint("one ", i), "two", "three and more"}
		}
		if i%3 == 0 {
			r.Context = "a context"
		}
		out[i] = r
	}
	return out
}

func score(t *testing.T, e *Engine, req bench.Request) [][]float64 {
	t.Helper()
	done := 0
	got, err := e.Score(t.Context(), req, func(n int) { done += n })
	require.NoError(t, err)
	require.Equal(t, len(req.Rows), done)
	require.Len(t, got, len(req.Rows))
	return got
}

// The benchmark scores what the product answers: same prompts, same weights.
func TestScoresAreTheProducts(t *testing.T) {
	e, d := open(t, true)
	require.ElementsMatch(t, []bench.Mode{bench.ModeBase, bench.ModeUniform, bench.ModeBlend, bench.ModeSingle}, e.Modes())
	for name, labels := range map[string][]string{"labels": {"north", "south", "east"}, "choices": nil} {
		t.Run(name, func(t *testing.T) {
			user, scored := rows(8, labels), rows(batch+3, labels)
			set := &examples.Set{Labels: labels}
			for _, r := range user {
				set.Examples = append(set.Examples, examples.Example{Question: r.Question, Context: r.Context, Answer: r.Gold(), Choices: r.Choices, Labelled: true})
			}
			c, err := customize.Make(t.Context(), d, "mine", set, customize.Options{})
			require.NoError(t, err)
			blend, err := c.Bind(t.Context(), d)
			require.NoError(t, err)
			custom, err := e.Customise(t.Context(), user, labels)
			require.NoError(t, err)
			require.Equal(t, blend, custom)
			third := float32(1) / 3
			for _, x := range []struct {
				mode bench.Mode
				row  []float32
			}{
				{bench.ModeBase, nil}, {bench.ModeBlend, blend}, {bench.ModeUniform, d.Row([]float32{third, third, third, 1})},
				{bench.ModeSingle, d.Row([]float32{1, 0, 0, 0})},
			} {
				req := bench.Request{Mode: x.mode, Labels: labels, Rows: scored}
				if x.mode == bench.ModeBlend {
					req.Custom = custom
				}
				got := score(t, e, req)
				require.Equal(t, got, score(t, e, req))
				for i, r := range scored {
					prompt, err := d.Form.Prompt(c.Text(r.Question, r.Context))
					require.NoError(t, err)
					want, err := d.Choose(t.Context(), device.Question{Prompt: prompt, Choices: r.Choices, Row: x.row})
					require.NoError(t, err)
					tolerance := 1e-4
					if x.mode == bench.ModeSingle {
						tolerance = 0.5 // packed apart from the pool's stack, so rounded otherwise
					}
					require.InDeltaSlice(t, want.Scores, got[i], tolerance, "%s, row %d", x.mode, i)
				}
			}
		})
	}
}

func TestShots(t *testing.T) {
	e, d := open(t, false)
	require.NotContains(t, e.Modes(), bench.ModeSingle)
	labels := []string{"north", "south"}
	shots, scored := rows(5, labels), rows(2, labels)
	got := score(t, e, bench.Request{Mode: bench.ModeBase, Labels: labels, Shots: shots, Rows: scored})
	worked := make([]task.Shot, len(shots))
	for i, s := range shots {
		worked[i] = task.Shot{Text: task.Text(s.Question, s.Context, labels), Answer: s.Gold()}
	}
	for i, r := range scored {
		prompt, err := d.Form.Shots(worked, task.Text(r.Question, r.Context, labels))
		require.NoError(t, err)
		want, err := d.Choose(t.Context(), device.Question{Prompt: prompt, Choices: r.Choices})
		require.NoError(t, err)
		require.InDeltaSlice(t, want.Scores, got[i], 1e-4)
	}
	// Beyond every bound the prompt loses its left end, not the row.
	scored[0].Context = strings.Repeat("x", 5000)
	shots[1].Context = strings.Repeat("y", 5000)
	score(t, e, bench.Request{Mode: bench.ModeBase, Labels: labels, Shots: shots, Rows: scored})
	score(t, e, bench.Request{Mode: bench.ModeBase, Labels: labels, Rows: scored})
}

func TestNoExamplesIsTheSharedAdapter(t *testing.T) {
	e, d := open(t, false)
	custom, err := e.Customise(t.Context(), nil, nil)
	require.NoError(t, err)
	require.Equal(t, d.Row([]float32{0, 0, 0, 1}), custom)
}

func TestScoreRefuses(t *testing.T) {
	e, _ := open(t, false)
	for _, req := range []bench.Request{
		{Mode: "other", Rows: rows(1, nil)},
		{Mode: bench.ModeBlend, Rows: rows(1, nil)},
		{Mode: bench.ModeBlend, Custom: "text", Rows: rows(1, nil)},
		{Mode: bench.ModeBlend, Custom: []float32{1}, Rows: rows(1, nil)},
		{Mode: bench.ModeSingle, Rows: rows(1, nil)},
	} {
		_, err := e.Score(t.Context(), req, func(int) {})
		require.Error(t, err, "%v", req.Mode)
	}
}
