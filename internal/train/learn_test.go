package train

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/reference"
)

// randomAdapter changes the layers from the given one on, but for the slot left out.
func randomAdapter(c arch.Config, rng *rand.Rand, rank, from int, without arch.Slot) *adapter.Adapter {
	a := &adapter.Adapter{Name: "random", Scale: 0.5, Pairs: map[arch.Slot]*adapter.Pair{}}
	for s := arch.SlotOf(from, 0); int(s) < c.Slots(); s++ {
		if s == without {
			continue
		}
		out, in := c.Shape(s.Kind())
		p := &adapter.Pair{Rank: rank, In: in, Out: out, A: make([]float32, rank*in), B: make([]float32, out*rank)}
		for _, x := range [][]float32{p.A, p.B} {
			for i := range x {
				x[i] = float32(rng.NormFloat64() * 0.4)
			}
		}
		a.Pairs[s] = p
	}
	return a
}

// lessonsOf are random lessons: with an answer, held, and both; one tree is
// longer than a block, and they fill several micro-batches.
func lessonsOf(c arch.Config, s *adapter.Stack, rng *rand.Rand) []*Lesson {
	var list []*Lesson
	for i, e := range randomExamples(c, 0, 5, []int{66, 3, 1}, []int{9, 4, 2}, []int{2, 1, 5, 3}, []int{12, 1, 3, 2}) {
		l := &Lesson{Prompt: e.Prompt, Answers: e.Answers, Right: 0.7, Hold: 0.9}
		switch i {
		case 0:
			l.Hold = 0
		case 1:
			l.Right = 0
		}
		weights := make([]float32, s.Adapters)
		for j := range weights {
			weights[j] = rng.Float32()
		}
		weights[i%len(weights)] = 0
		l.Row = s.RowWeights(weights)
		list = append(list, l)
	}
	return list
}

// lessonLoss is the lessons' loss in float64, by plain64.
func (p *plain64) lessonLoss(lessons []*Lesson, rows [][]float64, first [][]float64) (float64, [][]float64) {
	var all float64
	var probs [][]float64
	for i, l := range lessons {
		var scores []float64
		for _, a := range l.Answers {
			var mean float64
			for _, v := range p.logprobs(append(append([]int32(nil), l.Prompt...), a...), len(l.Prompt), rows[i]) {
				mean += v / float64(len(a))
			}
			scores = append(scores, mean)
		}
		q := probabilities(p.c.RankScale, scores)
		probs = append(probs, q)
		all += l.Right * (-math.Log(q[0]) - p.c.LMWeight*scores[0])
		if first != nil {
			for j, f := range first[i] {
				all += l.Hold * f * math.Log(f/q[j])
			}
		}
	}
	return all, probs
}

func TestSlopesAgainstFloat64(t *testing.T) {
	for _, family := range []string{"llama", "qwen2"} {
		w := random(tiny(family), 1)
		rng := rand.New(rand.NewPCG(4, 4))
		s, err := adapter.NewStack([]*adapter.Adapter{randomAdapter(w.Config, rng, 2, 0, 3), randomAdapter(w.Config, rng, 3, 0, 3), randomAdapter(w.Config, rng, 1, 1, -1)})
		require.NoError(t, err)
		lessons := lessonsOf(w.Config, s, rng)
		for _, l := range lessons {
			l.Right, l.Hold = 1, 0
		}
		slopes, err := Slopes(t.Context(), w, s, lessons)
		require.NoError(t, err)
		check := doubled(w, s)
		for i, l := range lessons {
			one := func(k int, h float64) float64 {
				row := make([]float64, s.Rank)
				for r, v := range l.Row {
					row[r] = float64(v)
					if s.Owner[r] == k {
						row[r] += h
					}
				}
				loss, _ := check.lessonLoss([]*Lesson{l}, [][]float64{row}, nil)
				return loss
			}
			require.InEpsilon(t, one(0, 0), slopes[i].Loss, 1e-4)
			for k, got := range slopes[i].Adapters {
				const h = 1e-5
				want := (one(k, h) - one(k, -h)) / (2 * h)
				require.InDelta(t, want, got, 3e-4*(1+math.Abs(want)), "%s lesson %d adapter %d", family, i, k)
			}
		}
	}
}

// doubled is the model with a stack in float64.
func doubled(w *reference.Weights, s *adapter.Stack) *plain64 {
	q := &plain64{w: w, c: Config{}.withDefaults(), a: map[arch.Slot][]float64{}, b: map[arch.Slot][]float64{}, stride: s.Rank}
	for slot := range arch.Slot(w.Config.Slots()) {
		out, in := w.Config.Shape(slot.Kind())
		q.a[slot], q.b[slot] = make([]float64, s.Rank*in), make([]float64, out*s.Rank)
		if p := s.Pairs[slot]; p != nil {
			for i, v := range p.A {
				q.a[slot][i] = float64(v)
			}
			for i, v := range p.B {
				q.b[slot][i] = float64(v)
			}
		}
	}
	return q
}

// whole is the private adapter's stack with the frozen rows of the layers below.
func whole(p *private, s *adapter.Stack) *adapter.Stack {
	all := &adapter.Stack{Adapters: p.stack.Adapters, Rank: p.stack.Rank, Pairs: map[arch.Slot]*adapter.Pair{}}
	for slot, pair := range s.Pairs {
		q := &adapter.Pair{Rank: all.Rank, In: pair.In, Out: pair.Out, A: make([]float32, all.Rank*pair.In), B: make([]float32, pair.Out*all.Rank)}
		copy(q.A, pair.A)
		for o := range pair.Out {
			copy(q.B[o*all.Rank:], pair.B[o*pair.Rank:(o+1)*pair.Rank])
		}
		all.Pairs[slot] = q
	}
	for slot, pair := range p.stack.Pairs {
		all.Pairs[slot] = pair
	}
	return all
}

// The gradient of a private adapter on the upper layer, beside a frozen stack,
// after a change that has moved the held probabilities.
func TestPrivateGradientAgainstFloat64(t *testing.T) {
	for _, family := range []string{"llama", "qwen2"} {
		w := random(tiny(family), 1)
		c := w.Config
		rng := rand.New(rand.NewPCG(6, 6))
		s, err := adapter.NewStack([]*adapter.Adapter{randomAdapter(c, rng, 2, 0, 9), randomAdapter(c, rng, 3, 0, 9)})
		require.NoError(t, err)
		lessons := lessonsOf(c, s, rng)
		const from, rank = 1, 2
		p, err := newPrivate(c, s, PrivateConfig{Rank: rank, From: from})
		require.NoError(t, err)
		require.NoError(t, p.take(randomAdapter(c, rng, rank, from, -1)))
		below, err := w.Bind(s)
		require.NoError(t, err)
		above, err := w.Bind(p.stack)
		require.NoError(t, err)
		room, err := newClass(w, s.Rank, lessons, []float32{privateScale, privateScale})
		require.NoError(t, err)
		require.Greater(t, len(room.micro), 1)
		room.enter(below, 0)
		require.NoError(t, room.each(t.Context(), func(w *worker, _ int, m *micro) {
			w.pass.Run(m.batch, from, nil)
			m.hidden = append([]float32(nil), w.pass.Out...)
		}))
		room.enter(above, from)

		var rows [][]float64
		for _, l := range lessons {
			var row []float64
			for _, v := range l.Row {
				row = append(row, float64(v))
			}
			rows = append(rows, append(row, privateScale, privateScale))
		}
		check := doubled(w, whole(p, s))
		_, first := check.lessonLoss(lessons, rows, nil)
		_, err = p.gradient(t.Context(), room) // sets what is held
		require.NoError(t, err)
		for i := range p.values {
			p.values[i] += float32(rng.NormFloat64() * 0.1)
		}
		p.refresh()
		check = doubled(w, whole(p, s))
		loss, err := p.gradient(t.Context(), room)
		require.NoError(t, err)
		want, _ := check.lessonLoss(lessons, rows, first)
		require.InEpsilon(t, want, loss, 1e-4)

		for slot := arch.SlotOf(from, 0); int(slot) < c.Slots(); slot++ {
			out, in := c.Shape(slot.Kind())
			for range 2 {
				i, o, r := rng.IntN(in), rng.IntN(out), rng.IntN(rank)
				for _, x := range []struct {
					at  *float64
					got float32
				}{
					{&check.a[slot][(s.Rank+r)*in+i], p.grad[p.offsetA(slot)+r*in+i]},
					{&check.b[slot][o*p.stack.Rank+s.Rank+r], p.grad[p.offsetB(slot)+o*rank+r]},
				} {
					const h = 1e-5
					at := *x.at
					*x.at = at + h
					up, _ := check.lessonLoss(lessons, rows, first)
					*x.at = at - h
					down, _ := check.lessonLoss(lessons, rows, first)
					*x.at = at
					want := (up - down) / (2 * h)
					require.InDelta(t, want, x.got, 1e-3*(0.3+math.Abs(want)), "%s %s", family, slot.Tensor())
				}
			}
		}
	}
}

// Layers computed once give what all of them give.
func TestPrivateFromHiddenStatesEqualsTheWholePass(t *testing.T) {
	w := random(tiny("llama"), 2)
	rng := rand.New(rand.NewPCG(7, 7))
	s, err := adapter.NewStack([]*adapter.Adapter{randomAdapter(w.Config, rng, 2, 0, -1)})
	require.NoError(t, err)
	lessons := lessonsOf(w.Config, s, rng)
	run := func(from int, hidden bool) []float64 {
		p, err := newPrivate(w.Config, s, PrivateConfig{Rank: 1, From: from})
		require.NoError(t, err)
		below, _ := w.Bind(s)
		above, _ := w.Bind(p.stack)
		room, err := newClass(w, s.Rank, lessons, []float32{privateScale})
		require.NoError(t, err)
		if hidden {
			room.enter(below, 0)
			require.NoError(t, room.each(t.Context(), func(w *worker, _ int, m *micro) {
				w.pass.Run(m.batch, from, nil)
				m.hidden = append([]float32(nil), w.pass.Out...)
			}))
			room.enter(above, from)
		} else {
			room.enter(above, 0)
		}
		var losses []float64
		for id := range room.micro {
			room.workers[0].pass.RunFrom(room.micro[id].batch, room.workers[0].lowest, room.micro[id].hidden, w.Config.Layers, nil)
			for _, v := range room.workers[0].pass.Out {
				losses = append(losses, float64(v))
			}
		}
		return losses
	}
	require.Equal(t, run(0, false), run(1, true))
}

func TestPrivateLearnsAndRepeats(t *testing.T) {
	w := random(tiny("llama"), 3)
	rng := rand.New(rand.NewPCG(8, 8))
	s, err := adapter.NewStack([]*adapter.Adapter{randomAdapter(w.Config, rng, 2, 0, -1)})
	require.NoError(t, err)
	var losses []float64
	config := PrivateConfig{Rank: 2, From: 1, Steps: 12, LearningRate: 1e-2, Seed: 5, Progress: func(step, steps int, loss float64) {
		require.Equal(t, 12, steps)
		losses = append(losses, loss)
	}}
	one, err := Private(t.Context(), w, s, lessonsOf(w.Config, s, rand.New(rand.NewPCG(1, 1))), config)
	require.NoError(t, err)
	require.NoError(t, adapter.Validate(one, w.Config))
	require.Len(t, losses, 12)
	require.Less(t, losses[11], losses[0]-0.3)

	was := runtime.GOMAXPROCS(1)
	two, err := Private(t.Context(), w, s, lessonsOf(w.Config, s, rand.New(rand.NewPCG(1, 1))), config)
	runtime.GOMAXPROCS(was)
	require.NoError(t, err)
	require.Equal(t, one, two, "one processor gives the same bits")

	// From there on: the first loss is below that of the beginning.
	last := losses[11]
	losses = nil
	config.Start = one
	lessons := lessonsOf(w.Config, s, rand.New(rand.NewPCG(1, 1)))
	for _, l := range lessons {
		l.Hold = 0
	}
	_, err = Private(t.Context(), w, s, lessons, config)
	require.NoError(t, err)
	require.Less(t, losses[0], last)

	// Held alone, nothing is to be gained and nothing changes.
	for _, l := range lessons {
		l.Right, l.Hold = 0, 1
	}
	losses, config.Start = nil, nil
	_, err = Private(t.Context(), w, s, lessons, config)
	require.NoError(t, err)
	require.InDelta(t, 0, losses[11], 1e-9)
}

func TestLearningRefusesAndStops(t *testing.T) {
	w := random(tiny("llama"), 3)
	rng := rand.New(rand.NewPCG(8, 8))
	s, err := adapter.NewStack([]*adapter.Adapter{randomAdapter(w.Config, rng, 2, 0, -1)})
	require.NoError(t, err)
	lessons := lessonsOf(w.Config, s, rng)
	good := PrivateConfig{Rank: 1, From: 1, Steps: 3, LearningRate: 1e-3}
	for _, spoil := range []func(*PrivateConfig){
		func(c *PrivateConfig) { c.Rank = 0 }, func(c *PrivateConfig) { c.From = 2 }, func(c *PrivateConfig) { c.Steps = 0 },
		func(c *PrivateConfig) { c.LearningRate = math.NaN() },
		func(c *PrivateConfig) { c.Start = randomAdapter(w.Config, rng, 2, 1, -1) },
		func(c *PrivateConfig) { c.Start = randomAdapter(w.Config, rng, 1, 0, -1) },
	} {
		c := good
		spoil(&c)
		_, err := Private(t.Context(), w, s, lessons, c)
		require.Error(t, err)
	}
	_, err = Private(t.Context(), w, s, nil, good)
	require.ErrorContains(t, err, "no examples")
	_, err = Private(t.Context(), w, nil, lessons, good)
	require.ErrorContains(t, err, "stacked rows")
	ctx, cancel := context.WithCancel(t.Context())
	c := good
	c.Progress = func(step, _ int, _ float64) { cancel() }
	_, err = Private(ctx, w, s, lessons, c)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "after step 1 of 3")
	_, err = Slopes(ctx, w, s, lessons)
	require.ErrorIs(t, err, context.Canceled)
}
