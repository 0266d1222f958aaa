//go:build linux && (amd64 || arm64)

package cuda

import (
	"bytes"
	"context"
	"errors"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	nv "crayon/internal/cuda"
	"crayon/internal/fault"
	"crayon/internal/kernel"
	"crayon/internal/model"
	"crayon/internal/reference"
	"crayon/internal/train"
	"crayon/test/softcuda"
)

// smallRun is a few steps of a model as small as they come.
func smallRun(t *testing.T) (train.Config, *reference.Weights, []train.Example) {
	a := tiny("llama")
	a.Layers, a.Heads, a.KVHeads, a.Dim, a.FF = 1, 2, 1, 16, 24
	shapes := make([][]int, 10)
	for i := range shapes {
		shapes[i] = []int{3 + 5*i%17, 2, 1 + i%3, 3}[:2+i%3]
	}
	c := train.Config{Adapters: 2, Rank: 2, SharedRank: 1, Epochs: 2, StepTokens: 50, MicroTokens: 12, Seed: 4, LearningRate: 1e-2}
	return c, random(a, 2), randomExamples(a.Vocab, 2, 6, shapes...)
}

func bits(x []float32) []uint32 {
	list := make([]uint32, len(x))
	for i, v := range x {
		list[i] = math.Float32bits(v)
	}
	return list
}

func TestResumedRunEqualsUninterrupted(t *testing.T) {
	c, w, examples := smallRun(t)
	e := soft(t, Options{BatchTokens: 30}, w, 1)
	steps := 0
	c.Progress = func(p train.Progress) { steps = p.Steps }
	whole, err := e.Train(t.Context(), c, examples)
	require.NoError(t, err)
	require.Greater(t, steps, 3)

	c.Progress = nil
	again, err := e.Train(t.Context(), c, examples)
	require.NoError(t, err)
	require.Equal(t, bits(whole.Values), bits(again.Values), "the same seed")

	c.Checkpoint = filepath.Join(t.TempDir(), "run.checkpoint")
	for _, stop := range []int{1, 3} {
		ctx, cancel := context.WithCancel(t.Context())
		c.Progress = func(p train.Progress) {
			if p.Step == stop {
				cancel()
			}
		}
		_, err = e.Train(ctx, c, examples)
		require.ErrorIs(t, err, context.Canceled)
		require.Contains(t, fault.Hint(err), "goes on")
	}
	first := 0
	c.Progress = func(p train.Progress) {
		if first == 0 {
			first = p.Step
		}
	}
	p, err := e.Train(t.Context(), c, examples)
	require.NoError(t, err)
	require.Equal(t, 4, first)
	require.Equal(t, 4, steps)
	require.Equal(t, bits(whole.Values), bits(p.Values))

	// The processor goes the same way.
	c.Checkpoint, c.Progress = "", nil
	reference, err := train.Run(t.Context(), c, w, examples)
	require.NoError(t, err)
	close := apart(reference.Values, p.Values)
	t.Logf("after %d steps the parameters are %.4f of their norm apart", steps, close)
	require.Less(t, close, 0.02)
}

// apart is the norm of the difference as a share of a's.
func apart(a, b []float32) float64 {
	var miss, whole float64
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		miss, whole = miss+d*d, whole+float64(a[i])*float64(a[i])
	}
	return math.Sqrt(miss / whole)
}

// Two GPUs share the micro-batches of a step; the sums differ by rounding alone.
func TestTwoGPUsEqualOne(t *testing.T) {
	t.Setenv("SOFTCUDA_DEVICES", "2")
	c, w, examples := smallRun(t)
	e := soft(t, Options{}, w, 2)
	require.Contains(t, e.Name(), " x 2")
	d, err := compare(t.Context(), c, w, examples, e.open)
	require.NoError(t, err)
	t.Log(d)
	require.Less(t, d.Whole, 0.025)
	one := soft(t, Options{}, w, 1)
	a, err := one.Train(t.Context(), c, examples)
	require.NoError(t, err)
	b, err := e.Train(t.Context(), c, examples)
	require.NoError(t, err)
	require.Less(t, apart(a.Values, b.Values), 0.005)
}

// A GPU that fails lets no other wait for it.
func TestOneGPUFails(t *testing.T) {
	t.Setenv("SOFTCUDA_DEVICES", "2")
	c, w, examples := smallRun(t)
	softcuda.Use(t)
	e, err := open(Options{}, w, 2)
	require.NoError(t, err)
	defer e.Close() // of a GPU that a sum failed on, nothing can be given back
	broken := errors.New("broken")
	_, err = train.RunOn(t.Context(), c, w, examples, func(plan *train.Plan, s *train.State) (train.Backend, error) {
		b, err := e.open(plan, s)
		require.NoError(t, err)
		err = b.(*trainer).each(func(p *part) error {
			if p.rank == 1 {
				return broken
			}
			if err := p.comm.Sum(p.stream, p.grad, 10, nv.F32); err != nil {
				return err
			}
			return p.stream.Wait()
		})
		return nil, errors.Join(err, b.Close())
	})
	require.ErrorIs(t, err, broken)
	_, err = e.Train(t.Context(), c, examples)
	require.ErrorContains(t, err, "earlier error")
}

func TestSelfTest(t *testing.T) {
	softcuda.Use(t)
	var out bytes.Buffer
	s := SelfTest{Steps: []int{40}, Rounds: 1, examples: 2, asks: 3, warm: 1, shape: tiny("qwen2")}
	require.NoError(t, s.Run(t.Context(), &out))
	t.Log(out.String())
	require.NotContains(t, out.String(), "FAILED")
	require.Contains(t, out.String(), "examples/s")
	require.Contains(t, out.String(), "attend_dkv")
}

// plainLogProbs is an ask by package reference.
func plainLogProbs(t *testing.T, w *reference.Weights, stack *adapter.Stack, a model.Ask) [][]float32 {
	t.Helper()
	var side *reference.Side
	if stack != nil && a.Row != nil {
		side = &reference.Side{Stack: stack, Row: a.Row}
	}
	var res [][]float32
	for _, answer := range a.Answers {
		all := append(append([]int32(nil), a.Prefix...), answer...)
		var at []int
		for i := range answer {
			at = append(at, len(a.Prefix)+i-1)
		}
		v := w.Config.Vocab
		logits := make([]float32, len(at)*v)
		require.NoError(t, w.Logits(nil, all, side, at, logits))
		var list []float32
		for i, id := range answer {
			row := logits[i*v : (i+1)*v]
			list = append(list, row[id]-kernel.LogSumExp(row))
		}
		res = append(res, list)
	}
	return res
}

func TestScores(t *testing.T) {
	w := random(tiny("qwen2"), 3)
	e := soft(t, Options{BatchTokens: 40}, w, 1)
	p := train.NewParams(w.Config, train.Config{Adapters: 2, Rank: 3, SharedRank: 1, Scale: 2, Seed: 1})
	for i := range p.Values {
		p.Values[i] += float32(i%13-6) / 40
	}
	stack, err := adapter.NewStack(p.List(nil))
	require.NoError(t, err)
	var asks []model.Ask
	for i, x := range randomExamples(w.Config.Vocab, 3, 4, []int{70, 3, 1}, []int{2, 1}, []int{20, 4, 5, 6}, []int{1, 2, 2}) {
		a := model.Ask{Prefix: x.Prompt, Answers: x.Answers}
		if i != 1 {
			a.Row = stack.RowWeights(x.Weights)
		}
		asks = append(asks, a)
	}
	asks[3].Answers = append(asks[3].Answers, nil)
	for _, s := range []*adapter.Stack{stack, nil, stack} {
		if s == nil {
			for i := range asks {
				asks[i].Row = nil
			}
		}
		got, err := e.LogProbs(t.Context(), s, asks)
		require.NoError(t, err)
		require.Len(t, got, len(asks))
		for i, a := range asks {
			want := plainLogProbs(t, w, s, a)
			require.Len(t, got[i], len(a.Answers))
			for j := range want {
				require.Len(t, got[i][j], len(want[j]))
				for k := range want[j] {
					require.InDelta(t, want[j][k], got[i][j][k], 0.08, "ask %d, answer %d, token %d", i, j, k)
				}
			}
		}
	}
	_, err = e.LogProbs(t.Context(), nil, []model.Ask{{Answers: asks[0].Answers}})
	require.Error(t, err)
	_, err = e.LogProbs(t.Context(), stack, []model.Ask{{Prefix: []int32{1}, Row: []float32{1}}})
	require.ErrorContains(t, err, "weights")
	_, err = e.LogProbs(t.Context(), nil, []model.Ask{{Prefix: []int32{61}}})
	require.ErrorContains(t, err, "vocabulary")
}

func TestFeatures(t *testing.T) {
	w := random(tiny("qwen2"), 3)
	c := w.Config
	e := soft(t, Options{BatchTokens: 40}, w, 1)
	var texts [][]int32
	for _, x := range randomExamples(c.Vocab, 0, 4, []int{70}, []int{1}, []int{20}) {
		texts = append(texts, x.Prompt)
	}
	for layer := range c.Layers + 1 {
		got, err := e.Features(t.Context(), layer, texts)
		require.NoError(t, err)
		for i, x := range texts {
			width := c.Dim
			if layer == 0 {
				width = c.Heads * c.HeadDim
			}
			all, want := make([]float32, len(x)*width), make([]float32, width)
			if layer == 0 {
				require.NoError(t, w.FirstQuery(nil, x, all))
			} else {
				require.NoError(t, w.Hidden(nil, x, nil, layer, all))
			}
			for k := range x {
				kernel.Axpy(1/float32(len(x)), all[k*width:(k+1)*width], want)
			}
			if layer == 0 {
				kernel.Add(want, w.Layers[0].Bias[0])
			}
			require.Len(t, got[i], width)
			require.Less(t, apart(want, got[i]), 0.02, "layer %d, text %d", layer, i)
		}
	}
	_, err := e.Features(t.Context(), c.Layers+1, texts)
	require.Error(t, err)
	_, err = e.Features(t.Context(), 1, [][]int32{{}})
	require.Error(t, err)
}

func TestShapesTheKernelsAreNotFor(t *testing.T) {
	softcuda.Use(t)
	a := tiny("llama")
	a.HeadDim = 24
	_, err := open(Options{}, reference.New(a), 1)
	require.ErrorContains(t, err, "multiple of 16")
	require.Contains(t, fault.Hint(err), "--device cpu")
}
