package reference

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/kernel"
)

func tiny(family string) arch.Config {
	return arch.Config{
		Family: family, Layers: 2, Dim: 12, Heads: 6, KVHeads: 2, HeadDim: 4, FF: 18, Vocab: 31, Context: 512,
		RopeBase: 100, RopeHalves: family == "qwen2", Eps: 1e-5, Tied: family == "llama", QKVBias: family == "qwen2",
	}
}

func normal(rng *rand.Rand, x []float32, deviation float64) {
	for i := range x {
		x[i] = float32(rng.NormFloat64() * deviation)
	}
}

func random(c arch.Config, rng *rand.Rand) *Weights {
	w := New(c)
	normal(rng, w.Embed, 1)
	if !c.Tied {
		normal(rng, w.Head, 1)
	}
	for i := range w.Layers {
		l := &w.Layers[i]
		for k := range l.W {
			_, in := c.Shape(arch.Kind(k))
			normal(rng, l.W[k], 1/math.Sqrt(float64(in)))
			normal(rng, l.Bias[k], 0.3)
		}
	}
	return w
}

// stack has two adapters of different rank; the second leaves a slot out.
func stack(t require.TestingT, c arch.Config, rng *rand.Rand) *adapter.Stack {
	var list []*adapter.Adapter
	for i, rank := range []int{2, 3} {
		a := &adapter.Adapter{Name: "a", Scale: 0.5, Pairs: map[arch.Slot]*adapter.Pair{}}
		for s := arch.Slot(i); int(s) < c.Slots(); s++ {
			out, in := c.Shape(s.Kind())
			p := &adapter.Pair{Rank: rank, In: in, Out: out, A: make([]float32, rank*in), B: make([]float32, out*rank)}
			normal(rng, p.A, 0.5)
			normal(rng, p.B, 0.5)
			a.Pairs[s] = p
		}
		list = append(list, a)
	}
	s, err := adapter.NewStack(list)
	require.NoError(t, err)
	return s
}

// merged is the weights with the side path added into the matrices.
func merged(w *Weights, s *adapter.Stack, weights []float32) *Weights {
	m := New(w.Config)
	copy(m.Embed, w.Embed)
	copy(m.Head, w.Head)
	for i := range w.Layers {
		for k := range w.Layers[i].W {
			copy(m.Layers[i].W[k], w.Layers[i].W[k])
			copy(m.Layers[i].Bias[k], w.Layers[i].Bias[k])
			slot := arch.SlotOf(i, arch.Kind(k))
			if s.Pairs[slot] != nil {
				kernel.Add(m.Layers[i].W[k], s.Dense(slot, weights))
			}
		}
	}
	return m
}

func closeTo(t require.TestingT, want, got []float32) {
	require.Len(t, got, len(want))
	for i := range want {
		if !(math.Abs(float64(want[i]-got[i])) <= 2e-4*(1+math.Abs(float64(want[i])))) {
			require.Failf(t, "differs", "value %d: %v, want %v", i, got[i], want[i])
		}
	}
}

func tokens(t *rapid.T, c arch.Config, low, high int) []int32 {
	return rapid.SliceOfN(rapid.Int32Range(0, int32(c.Vocab-1)), low, high).Draw(t, "tokens")
}

// Trees in one batch, with a side path, on a team: every branch has the logits
// that its whole sequence alone has under the merged weights.
func TestTreesEqualTheirSequences(t *testing.T) {
	team := kernel.NewTeam(3)
	defer team.Close()
	rapid.Check(t, func(t *rapid.T) {
		c := tiny(rapid.SampledFrom([]string{"llama", "qwen2"}).Draw(t, "family"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		w := random(c, rng)
		s := stack(t, c, rng)
		weights := []float32{rng.Float32(), rng.Float32()}
		side := &Side{Stack: s, Row: s.RowWeights(weights)}
		var trees []Branches
		for range rapid.IntRange(1, 3).Draw(t, "trees") {
			tree := Branches{Prefix: tokens(t, c, 1, 80)}
			for range rapid.IntRange(0, 4).Draw(t, "branches") {
				tree.Branch = append(tree.Branch, tokens(t, c, 0, rapid.SampledFrom([]int{3, 70}).Draw(t, "longest")))
			}
			trees = append(trees, tree)
		}
		p, err := w.Forward(team, trees, side)
		require.NoError(t, err)
		dense := merged(w, s, weights)
		for i, tree := range trees {
			for j := -1; j < len(tree.Branch); j++ {
				whole, at := tree.Prefix, p.Batch.End(i, j)-1
				if j >= 0 {
					whole = append(append([]int32(nil), whole...), tree.Branch[j]...)
					if len(tree.Branch[j]) == 0 {
						continue
					}
				}
				want, got := make([]float32, c.Vocab), make([]float32, c.Vocab)
				require.NoError(t, dense.Logits(nil, whole, nil, []int{len(whole) - 1}, want))
				p.Logits([]int{at}, got)
				closeTo(t, want, got)
			}
		}
	})
}

// A pass that is fused, keeps its states and computes the last layer for some
// tokens only gives those the same residuals.
func TestFusedAndPartialPassEqualsThePlainOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := tiny(rapid.SampledFrom([]string{"llama", "qwen2"}).Draw(t, "family"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		w := random(c, rng)
		s := stack(t, c, rng)
		row := s.RowWeights([]float32{rng.Float32(), rng.Float32()})
		sequence := tokens(t, c, 1, 40)
		want, err := w.Forward(nil, []Branches{{Prefix: sequence}}, &Side{Stack: s, Row: row})
		require.NoError(t, err)

		zero := func(slot arch.Slot) *adapter.Pair {
			if p := s.Pairs[slot]; p != nil {
				return p
			}
			out, in := c.Shape(slot.Kind())
			return &adapter.Pair{A: make([]float32, s.Rank*in), B: make([]float32, out*s.Rank)}
		}
		fused := w.Fuse(s.Rank, func(x arch.Slot) []float32 { return zero(x).A }, func(x arch.Slot) []float32 { return zero(x).B })
		b, err := NewBatch(c.Vocab, []Branches{{Prefix: sequence}}, [][]float32{row})
		require.NoError(t, err)
		p := NewPass(fused, nil, true)
		var only []int
		for i := range sequence {
			if rapid.Bool().Draw(t, "wanted") {
				only = append(only, i)
			}
		}
		for range 2 { // the second time in used buffers
			p.Run(b, c.Layers, only)
		}
		if only == nil {
			closeTo(t, want.Out, p.Out)
			return
		}
		require.Len(t, p.Out, len(only)*c.Dim)
		for i, at := range only {
			closeTo(t, want.Out[at*c.Dim:(at+1)*c.Dim], p.Out[i*c.Dim:(i+1)*c.Dim])
		}
	})
}

func TestHiddenStatesEndInTheLogits(t *testing.T) {
	c := tiny("qwen2")
	w := random(c, rand.New(rand.NewPCG(1, 1)))
	sequence := []int32{3, 1, 4, 1, 5}
	hidden, deeper := make([]float32, 5*c.Dim), make([]float32, 5*c.Dim)
	require.NoError(t, w.Hidden(nil, sequence, nil, 0, hidden))
	require.Equal(t, w.Embed[3*c.Dim:4*c.Dim], hidden[:c.Dim])
	require.NoError(t, w.Hidden(nil, sequence, nil, c.Layers, hidden))
	require.NoError(t, w.Hidden(nil, sequence, nil, c.Layers-1, deeper))
	require.NotEqual(t, hidden, deeper)
	p, err := w.Forward(nil, []Branches{{Prefix: sequence}}, nil)
	require.NoError(t, err)
	require.Equal(t, hidden, p.Out)
}

func TestRefusals(t *testing.T) {
	c := tiny("llama")
	rng := rand.New(rand.NewPCG(1, 1))
	w := random(c, rng)
	s := stack(t, c, rng)
	dst := make([]float32, c.Vocab)
	require.ErrorContains(t, w.Logits(nil, nil, nil, nil, dst), "empty")
	require.ErrorContains(t, w.Logits(nil, []int32{31}, nil, []int{0}, dst), "vocabulary")
	require.ErrorContains(t, w.Logits(nil, []int32{-1}, nil, []int{0}, dst), "vocabulary")
	require.ErrorContains(t, w.Logits(nil, []int32{1}, nil, []int{1}, dst), "position")
	require.ErrorContains(t, w.Logits(nil, []int32{1, 2}, nil, []int{0, 1}, dst), "room")
	require.ErrorContains(t, w.Logits(nil, []int32{1}, &Side{Stack: s, Row: []float32{1}}, []int{0}, dst), "row weights")
	require.ErrorContains(t, w.Hidden(nil, []int32{1}, nil, 3, dst), "layer 3")
	wide := c
	wide.FF++
	_, err := New(wide).Forward(nil, []Branches{{Prefix: []int32{1}}}, &Side{Stack: s, Row: s.RowWeights([]float32{1, 1})})
	require.ErrorContains(t, err, "does not fit")
	shallow := c
	shallow.Layers = 1
	_, err = New(shallow).Forward(nil, []Branches{{Prefix: []int32{1}}}, &Side{Stack: s, Row: s.RowWeights([]float32{1, 1})})
	require.ErrorContains(t, err, "slot")
}
