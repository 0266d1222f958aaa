package learner_test

import (
	"context"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/learner"
	"crayon/internal/strategy"
	"crayon/internal/strategy/deviceengine"
	"crayon/internal/testmodel/tiny"
	"crayon/internal/testmodel/tinydevice"
)

// planted is a task that says what its prompts say: the answer follows from
// the question's first word.
func planted(members []float32) (asks []strategy.Ask, golds []int) {
	for i, q := range []string{"red one", "red two", "red three", "blue one", "blue two", "blue three"} {
		asks = append(asks, strategy.Ask{Text: q, Candidates: []string{"warm", "cold", "grey"}, Members: members})
		golds = append(golds, i/3)
	}
	return asks, golds
}

// loss is the ranking loss of training on the engine's scores.
func loss(t *testing.T, e strategy.Engine, asks []strategy.Ask, golds []int) float64 {
	t.Helper()
	scores, err := e.Score(t.Context(), asks)
	require.NoError(t, err)
	var sum float64
	for i, p := range probabilities(scores) {
		sum -= math.Log(p[golds[i]]) + 0.3*scores[i][golds[i]].Mean()
	}
	return sum / float64(len(asks))
}

func probabilities(scores [][]strategy.Score) [][]float64 {
	out := make([][]float64, len(scores))
	for i, row := range scores {
		s := make([]float64, len(row))
		for j, x := range row {
			s[j] = strategy.RankScale * x.Mean()
		}
		out[i] = strategy.Softmax(s)
	}
	return out
}

func with(asks []strategy.Ask, private *adapter.Adapter) []strategy.Ask {
	out := append([]strategy.Ask(nil), asks...)
	for i := range out {
		out[i].Private = private
	}
	return out
}

// The loss is that of the device's own scores, but for its 8-bit arithmetic,
// and the slopes are differences of it.
func TestGradientIsThatOfTheDevicesLoss(t *testing.T) {
	d := tinydevice.Open(t)
	e := deviceengine.New(d)
	l := learner.New(e, d, learner.Options{})
	for _, members := range [][]float32{{0.5, 0, 0.5, 1}, nil} {
		asks, golds := planted(members)
		asks[1].Shots = nil
		got, slopes, err := l.Gradient(t.Context(), asks, golds)
		require.NoError(t, err)
		require.InEpsilon(t, loss(t, e, asks, golds), got, 0.03)
		require.Len(t, slopes, 4)
		for k := range slopes {
			at := func(h float32) float64 {
				w := make([]float32, 4)
				copy(w, members)
				w[k] += h
				moved, golds := planted(w)
				x, _, err := l.Gradient(t.Context(), moved, golds)
				require.NoError(t, err)
				return x
			}
			const h = 1e-3
			want := (at(h) - at(-h)) / (2 * h)
			require.InDelta(t, want, slopes[k], 0.02*(1+math.Abs(want)), "member %d", k)
		}
	}
}

func TestTuneLowersTheLossOnTheDevice(t *testing.T) {
	d := tinydevice.Open(t)
	e := deviceengine.New(d)
	for _, members := range [][]float32{{0.5, 0, 0.5, 1}, nil} {
		var losses []float64
		l := learner.New(e, d, learner.Options{Progress: func(step, steps int, x float64) {
			require.Equal(t, len(losses)+1, step)
			require.Equal(t, 15, steps)
			losses = append(losses, x)
		}})
		asks, golds := planted(members)
		tuning := strategy.Tuning{Rank: 4, Steps: 15, LearningRate: 1e-2, Seed: 3}
		a, err := l.Tune(t.Context(), tuning, asks, golds)
		require.NoError(t, err)
		require.NoError(t, adapter.Validate(a, d.Model.Config))
		require.Equal(t, 4, a.Rank())
		for _, s := range a.Slots() {
			require.Equal(t, 1, s.Layer(), "the upper third of two layers is the second")
		}
		require.Len(t, losses, 15)
		before, after := loss(t, e, asks, golds), loss(t, e, with(asks, a), golds)
		require.InEpsilon(t, before, losses[0], 0.03)
		require.Less(t, after, before/2)

		first := losses[0]
		losses = nil
		again, err := l.Tune(t.Context(), tuning, asks, golds)
		require.NoError(t, err)
		require.Equal(t, a, again)
		was := runtime.GOMAXPROCS(1)
		alone, err := learner.New(e, d, learner.Options{}).Tune(t.Context(), tuning, asks, golds)
		runtime.GOMAXPROCS(was)
		require.NoError(t, err)
		require.Equal(t, a, alone, "on one processor")

		// From there on.
		losses = nil
		tuning.LearningRate = 1e-6
		_, err = l.Tune(t.Context(), tuning, with(asks, a), golds)
		require.NoError(t, err)
		require.Less(t, losses[0], first/2)
		require.InDelta(t, after, losses[0], 0.03*before)
	}
}

// What is held stays nearer to what it was, and still the answers are learned.
func TestHeldKeepsProbabilities(t *testing.T) {
	d := tinydevice.Open(t)
	e := deviceengine.New(d)
	l := learner.New(e, d, learner.Options{})
	members := []float32{0.3, 0.3, 0.4, 1}
	asks, golds := planted(members)
	var held []strategy.Ask
	for _, q := range []string{"green one", "grey two", "a long question of another kind", "1 + 2"} {
		held = append(held, strategy.Ask{Text: q, Candidates: asks[0].Candidates, Members: members})
	}
	scores, err := e.Score(t.Context(), held)
	require.NoError(t, err)
	was := probabilities(scores)
	divergence := func(weight float64) (kl, learned float64) {
		a, err := l.Tune(t.Context(), strategy.Tuning{Rank: 4, Steps: 20, LearningRate: 1e-2, Seed: 3, Held: held, HeldWeight: weight}, asks, golds)
		require.NoError(t, err)
		scores, err := e.Score(t.Context(), with(held, a))
		require.NoError(t, err)
		for i, now := range probabilities(scores) {
			for j, p := range was[i] {
				kl += p * math.Log(p/now[j]) / float64(len(was))
			}
		}
		return kl, loss(t, e, with(asks, a), golds)
	}
	free, _ := divergence(0)
	kept, learned := divergence(3)
	require.Less(t, kept, free/3)
	require.Less(t, kept, 0.25)
	require.Less(t, learned, 0.8*loss(t, e, asks, golds))
}

// Held prompts that are the learned ones cost no second pass, and pull as they
// would apart.
func TestHeldAndLearnedAreOne(t *testing.T) {
	d := tinydevice.Open(t)
	l := learner.New(deviceengine.New(d), d, learner.Options{})
	asks, golds := planted([]float32{0.3, 0.3, 0.4, 1})
	tuning := strategy.Tuning{Rank: 2, Steps: 4, LearningRate: 1e-2, Held: asks, HeldWeight: 1}
	one, err := l.Tune(t.Context(), tuning, asks, golds)
	require.NoError(t, err)
	// Candidates in another order are the same prompt still.
	turned := append([]strategy.Ask(nil), asks...)
	for i := range turned {
		turned[i].Candidates = []string{"grey", "warm", "cold"}
	}
	tuning.Held = turned
	two, err := l.Tune(t.Context(), tuning, asks, golds)
	require.NoError(t, err)
	require.Equal(t, one, two)
	tuning.HeldWeight = 0
	free, err := l.Tune(t.Context(), tuning, asks, golds)
	require.NoError(t, err)
	require.NotEqual(t, one, free)
}

func TestRefusals(t *testing.T) {
	d := tinydevice.Open(t)
	l := learner.New(deviceengine.New(d), d, learner.Options{})
	asks, golds := planted(nil)
	good := strategy.Tuning{Rank: 2, Steps: 2, LearningRate: 1e-3}
	for name, bad := range map[string]func() error{
		"no asks": func() error { _, err := l.Tune(t.Context(), good, nil, nil); return err },
		"answers": func() error { _, err := l.Tune(t.Context(), good, asks, golds[1:]); return err },
		"gold":    func() error { _, err := l.Tune(t.Context(), good, asks, []int{0, 0, 0, 0, 0, 3}); return err },
		"members": func() error {
			a, _ := planted([]float32{1})
			_, _, err := l.Gradient(t.Context(), a, golds)
			return err
		},
		"candidates": func() error {
			a := asks[:1]
			a = []strategy.Ask{{Text: a[0].Text}}
			_, _, err := l.Gradient(t.Context(), a, []int{0})
			return err
		},
		"rank": func() error {
			_, err := l.Tune(t.Context(), strategy.Tuning{Steps: 1, LearningRate: 1}, asks, golds)
			return err
		},
		"held weight": func() error {
			_, err := l.Tune(t.Context(), strategy.Tuning{Rank: 1, Steps: 1, LearningRate: 1, HeldWeight: math.NaN()}, asks, golds)
			return err
		},
		"private": func() error {
			_, _, err := l.Gradient(t.Context(), with(asks, &adapter.Adapter{Name: "x"}), golds)
			return err
		},
		"two privates": func() error {
			a := append([]strategy.Ask(nil), asks...)
			a[1].Private = &adapter.Adapter{Name: "x"}
			_, err := l.Tune(t.Context(), good, a, golds)
			return err
		},
	} {
		require.Error(t, bad(), name)
	}
	_, err := learner.New(deviceengine.New(d), d, learner.Options{Memory: 1 << 10}).Tune(t.Context(), good, asks, golds)
	require.ErrorContains(t, err, "memory")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.Tune(ctx, good, asks, golds)
	require.ErrorIs(t, err, context.Canceled)
	_, _, err = l.Gradient(ctx, asks, golds)
	require.ErrorIs(t, err, context.Canceled)
}

// The strategies end to end: the plan scores on the device with its adapter.
func TestPolishOnTheDevice(t *testing.T) {
	d := tinydevice.Open(t)
	l := learner.New(deviceengine.New(d), d, learner.Options{})
	defer l.Free()
	var task strategy.Task
	asks, golds := planted(nil)
	for i, a := range asks {
		task.Rows = append(task.Rows, strategy.Row{Question: a.Text, Candidates: a.Candidates, Gold: golds[i]})
	}
	directions, err := d.Directions(t.Context(), []string{asks[0].Text, asks[1].Text, asks[2].Text, asks[3].Text, asks[4].Text, asks[5].Text})
	require.NoError(t, err)
	for i := range task.Rows {
		task.Rows[i].Direction = directions[i]
	}
	for _, name := range []string{"refine", "polish", "polish_base"} {
		s, err := strategy.Get(name)
		require.NoError(t, err)
		plan, err := s.Fit(t.Context(), strategy.NewMemo(l), task)
		require.NoError(t, err)
		require.Equal(t, name != "refine", plan.Private != nil)
		scores, err := plan.Scores(t.Context(), l, task, task.Rows)
		require.NoError(t, err)
		bare := *plan
		bare.Private = nil
		without, err := bare.Scores(t.Context(), l, task, task.Rows)
		require.NoError(t, err)
		require.Equal(t, name == "refine", scores[0][0] == without[0][0], name)
	}
}

func TestNeed(t *testing.T) {
	c := tiny.Config
	c.Vocab = 300
	small := learner.Need(c, 8)
	c.Layers *= 2
	require.Greater(t, learner.Need(c, 8), small)
	real := arch.Config{Layers: 30, Dim: 576, Heads: 9, KVHeads: 3, HeadDim: 64, FF: 1536, Vocab: 49152, Tied: true}
	require.InDelta(t, 1.0, float64(learner.Need(real, 8))/(1<<30), 0.6, "GiB for the default model")
}
