//go:build linux && (amd64 || arm64)

package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/arch"
	"crayon/internal/reference"
	"crayon/internal/train"
	"crayon/test/softcuda"
)

// tiny is a model whose sizes are all different, and no larger than the kernels
// need to be tested.
func tiny(family string) arch.Config {
	c := arch.Config{
		Family: family, Layers: 2, Dim: 40, Heads: 6, KVHeads: 2, HeadDim: 16, FF: 56, Vocab: 61, Context: 512,
		RopeBase: 100, RopeHalves: family == "qwen2", Eps: 1e-3, Tied: family == "llama", QKVBias: family == "qwen2",
	}
	if family == "qwen2" {
		c.Heads, c.HeadDim = 4, 32
	}
	return c
}

func random(c arch.Config, seed uint64) *reference.Weights {
	w := reference.New(c)
	rng := rand.New(rand.NewPCG(seed, 7))
	fill := func(x []float32, mean, deviation float64) {
		for i := range x {
			x[i] = float32(mean + deviation*rng.NormFloat64())
		}
	}
	fill(w.Embed, 0, 0.3)
	if !c.Tied {
		fill(w.Head, 0, 1/math.Sqrt(float64(c.Dim)))
	}
	fill(w.OutNorm, 1, 0.2)
	for i := range w.Layers {
		l := &w.Layers[i]
		fill(l.AttnNorm, 1, 0.2)
		fill(l.FFNNorm, 1, 0.2)
		for k := range l.W {
			_, in := c.Shape(arch.Kind(k))
			fill(l.W[k], 0, 1/math.Sqrt(float64(in)))
			fill(l.Bias[k], 0, 0.3)
		}
	}
	return w
}

func randomExamples(vocab, adapters int, seed uint64, shapes ...[]int) []train.Example {
	rng := rand.New(rand.NewPCG(seed, 8))
	tokens := func(n int) []int32 {
		x := make([]int32, n)
		for i := range x {
			x[i] = rng.Int32N(int32(vocab))
		}
		return x
	}
	var list []train.Example
	for _, s := range shapes {
		e := train.Example{Prompt: tokens(s[0])}
		for _, n := range s[1:] {
			e.Answers = append(e.Answers, tokens(n))
		}
		for range adapters {
			e.Weights = append(e.Weights, rng.Float32())
		}
		list = append(list, e)
	}
	return list
}

// soft opens an engine on the software CUDA.
func soft(t *testing.T, o Options, w *reference.Weights, devices int) *engine {
	t.Helper()
	softcuda.Use(t)
	e, err := open(o, w, devices)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// TestGradientAgainstProcessor holds the loss and the gradient of a step to
// those of the trainer on the processor. What bfloat16 has 8 bits of differs by
// some thousandths, in the norm of each slot's gradient by some hundredths.
func TestGradientAgainstProcessor(t *testing.T) {
	for _, family := range []string{"llama", "qwen2"} {
		for _, loss := range []train.Loss{train.Ranking, train.LM} {
			t.Run(fmt.Sprintf("%s %s", family, loss), func(t *testing.T) {
				w := random(tiny(family), 1)
				c := train.Config{Adapters: 2, Rank: 3, SharedRank: 3, Loss: loss, MicroTokens: 60, StepTokens: 500, Workers: 2}
				examples := randomExamples(w.Config.Vocab, 2, 5, []int{66, 3, 1}, []int{2, 1, 67}, []int{9, 4}, []int{1, 2, 2, 2, 2, 2})
				e := soft(t, Options{BatchTokens: 130}, w, 1)
				d, err := compare(t.Context(), c, w, examples, e.open)
				require.NoError(t, err)
				t.Log(d)
				require.InDelta(t, d.Reference.Loss, d.Loss, 0.01*math.Abs(d.Reference.Loss))
				require.Less(t, d.Worst, 0.05)
				require.Less(t, d.Whole, 0.025)
			})
		}
	}
}
