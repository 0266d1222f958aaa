package model

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
	"crayon/internal/reference"
	"crayon/internal/testmodel/tiny"
)

// families are the shapes every test of the forward pass runs on.
var families = map[string]arch.Config{"llama": tiny.Config, "tied": tied(), "qwen2": tiny.Qwen2()}

func tied() arch.Config {
	c := tiny.Config
	c.Tied = true
	return c
}

func open(t testing.TB, c arch.Config, kind gguf.Type) *Model {
	t.Helper()
	m, err := Open(tiny.Model(t, c, kind), Options{Threads: 2})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

func load(t testing.TB, m *Model) *reference.Weights {
	t.Helper()
	w, err := reference.Load(m.File(), m.Config)
	require.NoError(t, err)
	return w
}

func tokens(seed uint64, n, vocab int) []int32 {
	rng := rand.New(rand.NewPCG(seed, 3))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = rng.Int32N(int32(vocab))
	}
	return ids
}

// stack is adapters of ranks 3, 2 and 5, the last on some slots only.
func stack(t testing.TB, c arch.Config) *adapter.Stack {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 6))
	draw := func(n int, sigma float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(sigma * rng.NormFloat64())
		}
		return v
	}
	var list []*adapter.Adapter
	for i, rank := range []int{3, 2, 5} {
		a := &adapter.Adapter{Name: fmt.Sprint(i), Scale: 2, Pairs: map[arch.Slot]*adapter.Pair{}}
		for s := range arch.Slot(c.Slots()) {
			if i == 2 && s%3 == 0 {
				continue
			}
			out, in := c.Shape(s.Kind())
			a.Pairs[s] = &adapter.Pair{Rank: rank, In: in, Out: out, A: draw(rank*in, 1/math.Sqrt(float64(in))), B: draw(out*rank, 0.2)}
		}
		list = append(list, a)
	}
	s, err := adapter.NewStack(list)
	require.NoError(t, err)
	return s
}

// all runs the inputs with every token wanted: logits by input and token.
func all(t testing.TB, m *Model, side *Side, in []Input) [][][]float32 {
	t.Helper()
	out := make([][][]float32, len(in))
	for i := range in {
		in[i].Want = WantAll
	}
	at, last := 0, -1
	require.NoError(t, m.Forward(t.Context(), side, in, func(input, token int, logits []float32) error {
		if input < at || input == at && token <= last {
			return fmt.Errorf("emitted %d/%d after %d/%d", input, token, at, last)
		}
		at, last = input, token
		out[input] = append(out[input], slices.Clone(logits))
		return nil
	}))
	for i := range in {
		require.Len(t, out[i], len(in[i].Tokens))
	}
	return out
}

// sequence is all of one sequence from nothing.
func sequence(t testing.TB, m *Model, side *Side, row []float32, ids []int32) [][]float32 {
	t.Helper()
	return all(t, m, side, []Input{{Cache: m.NewCache(0), Tokens: ids, Row: row}})[0]
}

func expected(t testing.TB, w *reference.Weights, side *reference.Side, ids []int32) [][]float32 {
	t.Helper()
	positions := make([]int, len(ids))
	for i := range positions {
		positions[i] = i
	}
	v := w.Config.Vocab
	flat := make([]float32, len(ids)*v)
	require.NoError(t, w.Logits(nil, ids, side, positions, flat))
	out := make([][]float32, len(ids))
	for i := range out {
		out[i] = flat[i*v : (i+1)*v]
	}
	return out
}

// worst is the largest difference of two lists of logits, relative to the root
// mean square of want.
func worst(t testing.TB, got, want [][]float32) float64 {
	t.Helper()
	require.Equal(t, len(want), len(got))
	var most, squares float64
	n := 0
	for i := range want {
		require.Equal(t, len(want[i]), len(got[i]))
		for j, x := range want[i] {
			d := math.Abs(float64(got[i][j] - x))
			if math.IsNaN(d) {
				return math.NaN()
			}
			most = max(most, d)
			squares += float64(x) * float64(x)
			n++
		}
	}
	return most / math.Sqrt(squares/float64(n))
}

// meanKL is the mean over positions of KL(want || got) in nats.
func meanKL(got, want [][]float32) float64 {
	var sum float64
	for i := range want {
		p, q := kernel.LogSumExp(want[i]), kernel.LogSumExp(got[i])
		for j, x := range want[i] {
			lp := float64(x - p)
			sum += math.Exp(lp) * (lp - float64(got[i][j]-q))
		}
	}
	return sum / float64(len(want))
}

// halves is how far logits may be off for keys and values in half precision:
// 11 bits, with float32 weights.
const halves = 4e-3

func TestForwardIsTheReferenceInFloat32(t *testing.T) {
	for name, c := range families {
		t.Run(name, func(t *testing.T) {
			m := open(t, c, gguf.F32)
			w := load(t, m)
			for _, n := range []int{1, 2, 3, 4, 5, tile - 1, tile, tile + 1, 2*tile + 3} {
				ids := tokens(uint64(n), n, m.Config.Vocab)
				got := worst(t, sequence(t, m, nil, nil, ids), expected(t, w, nil, ids))
				require.Less(t, got, halves, "%d tokens", n)
			}
		})
	}
}

// A prompt longer than a chunk, cut anywhere, is one sequence.
func TestForwardAcrossChunks(t *testing.T) {
	m := open(t, tiny.Config, gguf.F32)
	w := load(t, m)
	ids := tokens(1, chunk+tile+5, m.Config.Vocab)
	want := sequence(t, m, nil, nil, ids)
	require.Less(t, worst(t, want, expected(t, w, nil, ids)), halves)
	for _, cuts := range [][]int{{1}, {chunk - 1}, {chunk}, {chunk + 1}, {3, 40, 41, 530}} {
		cache := m.NewCache(7)
		var got [][]float32
		lo := 0
		for _, hi := range append(cuts, len(ids)) {
			got = append(got, all(t, m, nil, []Input{{Cache: cache, Tokens: ids[lo:hi]}})[0]...)
			require.Equal(t, hi, cache.Len())
			lo = hi
		}
		require.Equal(t, want, got, "cut at %v", cuts)
	}
}

// Weights of few bits: the weights are exact, the activations are int8 in
// blocks of 32, so logits differ by a per cent or so and the distribution by
// very little. The random model's wide logits make this worse than a real one.
func TestQuantisedForwardIsNearTheReference(t *testing.T) {
	for name, c := range families {
		for _, kind := range []gguf.Type{gguf.Q8_0, gguf.Q4_1, gguf.Q4_0, gguf.Q5_0} {
			t.Run(name+"/"+kind.String(), func(t *testing.T) {
				m := open(t, c, kind)
				ids := tokens(2, 60, m.Config.Vocab)
				got, want := sequence(t, m, nil, nil, ids), expected(t, load(t, m), nil, ids)
				require.Less(t, worst(t, got, want), 0.12)
				require.Less(t, meanKL(got, want), 0.004)
			})
		}
	}
}

// The side path is packed to 8 bits a block of 32 and its inner values are int8
// too; beside float32 weights that is the only difference.
func TestSideIsTheReferencesSide(t *testing.T) {
	for name, c := range families {
		t.Run(name, func(t *testing.T) {
			m := open(t, c, gguf.F32)
			w := load(t, m)
			s := stack(t, m.Config)
			side, err := m.NewSide(s)
			require.NoError(t, err)
			require.Equal(t, 32, side.Rank)
			require.Positive(t, side.Bytes())
			ids := tokens(3, 40, m.Config.Vocab)
			base := expected(t, w, nil, ids)
			for _, weights := range [][]float32{{1, 0, 0}, {0.3, 0.7, 0}, {0.2, 0.3, 1}, {-1, 0.5, 0.25}} {
				row := s.RowWeights(weights)
				want := expected(t, w, &reference.Side{Stack: s, Row: row}, ids)
				got := sequence(t, m, side, row, ids)
				require.Greater(t, worst(t, base, want), 0.3, "the adapters do something")
				require.Less(t, worst(t, got, want), 0.25, "%v", weights)
				require.Less(t, meanKL(got, want), 0.01, "%v", weights)
			}
			zero := sequence(t, m, side, make([]float32, s.Rank), ids)
			require.Less(t, worst(t, zero, base), halves, "weights of 0 are the base model")
			require.Equal(t, zero, sequence(t, m, side, nil, ids), "no weights are the base model")
		})
	}
}

// Several inputs, each with weights of its own, are as they are one by one: to
// the bit, whatever shares the batch.
func TestBatchIsOneByOne(t *testing.T) {
	for _, kind := range []gguf.Type{gguf.F32, gguf.Q8_0} {
		for name, c := range families {
			t.Run(name+"/"+kind.String(), func(t *testing.T) {
				m := open(t, c, kind)
				s := stack(t, m.Config)
				side, err := m.NewSide(s)
				require.NoError(t, err)
				var in []Input
				var alone [][][]float32
				for i, n := range []int{40, 1, 33, 2, 500, 5, 3} {
					x := Input{Cache: m.NewCache(0), Tokens: tokens(uint64(i), n, m.Config.Vocab)}
					if i%3 != 0 {
						x.Row = s.RowWeights([]float32{float32(i) / 7, 0.5, float32(i%2) - 0.5})
					}
					in = append(in, x)
					alone = append(alone, sequence(t, m, side, x.Row, x.Tokens))
				}
				for i, got := range all(t, m, side, in) {
					require.Equal(t, alone[i], got, "input %d", i)
				}
			})
		}
	}
}

func TestForksAreAPlainSequence(t *testing.T) {
	m := open(t, tiny.Qwen2(), gguf.F32)
	v := m.Config.Vocab
	prefix := tokens(1, 37, v)
	parent := m.NewCache(0)
	all(t, m, nil, []Input{{Cache: parent, Tokens: prefix}})
	var in []Input
	for i, n := range []int{1, 6, 45} {
		in = append(in, Input{Cache: parent.Fork(0), Tokens: tokens(uint64(10+i), n, v)})
	}
	for i, got := range all(t, m, nil, in) {
		want := sequence(t, m, nil, nil, slices.Concat(prefix, in[i].Tokens))[len(prefix):]
		require.Equal(t, want, got, "fork %d", i)
		require.Equal(t, len(prefix)+len(in[i].Tokens), in[i].Cache.Len())
	}
	// A fork of a fork, and the parent going on after its forks are done with.
	tail := tokens(20, 9, v)
	got := all(t, m, nil, []Input{{Cache: in[1].Cache.Fork(2), Tokens: tail}})[0]
	whole := slices.Concat(prefix, in[1].Tokens, tail)
	require.Equal(t, sequence(t, m, nil, nil, whole)[len(whole)-len(tail):], got)
	require.Equal(t, len(prefix), parent.Len())
	got = all(t, m, nil, []Input{{Cache: parent, Tokens: tail}})[0]
	require.Equal(t, sequence(t, m, nil, nil, slices.Concat(prefix, tail))[len(prefix):], got)
	// A fork of an empty sequence.
	got = all(t, m, nil, []Input{{Cache: m.NewCache(0).Fork(0), Tokens: tail}})[0]
	require.Equal(t, sequence(t, m, nil, nil, tail), got)
}

func TestTruncate(t *testing.T) {
	m := open(t, tiny.Config, gguf.F32)
	ids := tokens(1, 50, m.Config.Vocab)
	want := sequence(t, m, nil, nil, ids)
	cache := m.NewCache(0)
	all(t, m, nil, []Input{{Cache: cache, Tokens: ids}})
	cache.Truncate(50)
	require.Equal(t, 50, cache.Len())
	for _, n := range []int{49, 20, 0} {
		cache.Truncate(n)
		require.Equal(t, n, cache.Len())
		got := all(t, m, nil, []Input{{Cache: cache, Tokens: ids[n:]}})[0]
		require.Equal(t, want[n:], got, "from %d", n)
	}
	fork := cache.Fork(0)
	fork.Truncate(10)
	require.Equal(t, 50, fork.Len(), "what is the parent's stays")
}

// cancelled ends after a number of looks at it, as a user may at any moment.
type cancelled struct {
	context.Context
	left int
}

func (c *cancelled) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

func TestCancelledPassLeavesCachesAsTheyWere(t *testing.T) {
	m := open(t, tiny.Config, gguf.F32)
	v := m.Config.Vocab
	first, second := tokens(1, 20, v), tokens(2, chunk+100, v)
	want := sequence(t, m, nil, nil, slices.Concat(first, second))[len(first):]
	for left := range 9 {
		a, b := m.NewCache(0), m.NewCache(0)
		all(t, m, nil, []Input{{Cache: a, Tokens: first}})
		in := []Input{{Cache: a, Tokens: second, Want: WantAll}, {Cache: b, Tokens: first, Want: WantLast}}
		err := m.Forward(&cancelled{t.Context(), left}, nil, in, func(int, int, []float32) error { return nil })
		require.ErrorIs(t, err, context.Canceled, "%d", left)
		require.Equal(t, len(first), a.Len())
		require.Zero(t, b.Len())
		if left == 3 {
			got := all(t, m, nil, []Input{{Cache: a, Tokens: second}})[0]
			require.Equal(t, want, got)
		}
	}
	mine := errors.New("enough")
	cache := m.NewCache(0)
	err := m.Forward(t.Context(), nil, []Input{{Cache: cache, Tokens: second, Want: WantAll}}, func(_, token int, _ []float32) error {
		if token == chunk+3 {
			return mine
		}
		return nil
	})
	require.ErrorIs(t, err, mine)
	require.Zero(t, cache.Len())
}

func TestForwardRefuses(t *testing.T) {
	c := tiny.Config
	c.Context = 40
	m := open(t, c, gguf.F32)
	s := stack(t, m.Config)
	side, err := m.NewSide(s)
	require.NoError(t, err)
	v := int32(m.Config.Vocab)
	good := tokens(1, 5, int(v))
	for name, bad := range map[string]Input{
		"token above the vocabulary":    {Tokens: []int32{1, v}},
		"negative token":                {Tokens: []int32{-1}},
		"more than the context":         {Tokens: tokens(1, 41, int(v))},
		"weights of another stack":      {Tokens: good, Row: make([]float32, s.Rank+1)},
		"no weights where some must be": {Tokens: good, Row: []float32{}},
	} {
		t.Run(name, func(t *testing.T) {
			before := Input{Cache: m.NewCache(0), Tokens: good}
			bad.Cache = m.NewCache(0)
			err := m.Forward(t.Context(), side, []Input{before, bad}, nil)
			require.Error(t, err)
			require.Zero(t, before.Cache.Len())
			require.Zero(t, bad.Cache.Len())
		})
	}
	require.Error(t, m.Forward(t.Context(), nil, []Input{{Cache: m.NewCache(0), Tokens: good, Row: make([]float32, s.Rank)}}, nil), "weights without a stack")
	require.NoError(t, m.Forward(t.Context(), nil, nil, nil))
	require.NoError(t, m.Forward(t.Context(), nil, []Input{{Cache: m.NewCache(0)}}, nil))
	cache := m.NewCache(0)
	all(t, m, nil, []Input{{Cache: cache, Tokens: tokens(1, 40, int(v))}})
	require.Error(t, m.Forward(t.Context(), nil, []Input{{Cache: cache, Tokens: good[:1]}}, nil), "the context is full")
	require.Equal(t, 40, cache.Len())
}

func TestNewSideRefuses(t *testing.T) {
	m := open(t, tiny.Config, gguf.Q8_0)
	for name, spoil := range map[string]func(*adapter.Stack){
		"a slot the model has not": func(s *adapter.Stack) { s.Pairs[arch.Slot(m.Config.Slots())] = s.Pairs[0] },
		"a negative slot":          func(s *adapter.Stack) { s.Pairs[-1] = s.Pairs[0] },
		"a pair of another layer":  func(s *adapter.Stack) { s.Pairs[arch.SlotOf(0, arch.Gate)] = s.Pairs[arch.SlotOf(0, arch.Q)] },
		"a pair of another rank":   func(s *adapter.Stack) { s.Rank++ },
	} {
		t.Run(name, func(t *testing.T) {
			s := stack(t, m.Config)
			s.Pairs[0] = s.Pairs[arch.SlotOf(1, arch.Q)]
			spoil(s)
			_, err := m.NewSide(s)
			require.Error(t, err)
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	m := open(t, tiny.Config, gguf.Q8_0)
	ids := tokens(1, 30, m.Config.Vocab)
	want := sequence(t, m, nil, nil, ids)[29]
	done := make(chan error)
	for range 4 {
		go func() {
			done <- m.Forward(context.Background(), nil, []Input{{Cache: m.NewCache(0), Tokens: ids, Want: WantLast}}, func(_, _ int, got []float32) error {
				if !slices.Equal(got, want) {
					return errors.New("other logits beside another pass")
				}
				return nil
			})
		}()
	}
	for range 4 {
		require.NoError(t, <-done)
	}
}

// The blend is exact: weights on the stacked rows, the adapters merged into
// one, and the dense sum of their products added to the weights are the same
// model. In float32 to its rounding; on the fast path the merged adapter's B
// holds the weights before it is rounded to 8 bits, the stack's after.
func TestBlendIsOneMergedAdapter(t *testing.T) {
	for name, c := range families {
		t.Run(name, func(t *testing.T) {
			m := open(t, c, gguf.F32)
			w := load(t, m)
			s := stack(t, m.Config)
			weights := []float32{0.6, 0.4, 1}
			row := s.RowWeights(weights)
			one, err := adapter.NewStack([]*adapter.Adapter{s.Merge(weights, "blend")})
			require.NoError(t, err)
			ones := one.RowWeights([]float32{1})
			ids := tokens(3, 40, m.Config.Vocab)

			blend := expected(t, w, &reference.Side{Stack: s, Row: row}, ids)
			merged := expected(t, w, &reference.Side{Stack: one, Row: ones}, ids)
			require.Less(t, worst(t, merged, blend), 1e-4)

			dense := load(t, m)
			for l := range dense.Layers {
				for k := range arch.Kinds {
					if d := s.Dense(arch.SlotOf(l, k), weights); d != nil {
						kernel.Add(dense.Layers[l].W[k], d)
					}
				}
			}
			require.Less(t, worst(t, expected(t, dense, nil, ids), blend), 1e-4)

			fast := func(s *adapter.Stack, row []float32) [][]float32 {
				side, err := m.NewSide(s)
				require.NoError(t, err)
				return sequence(t, m, side, row, ids)
			}
			a, b := fast(s, row), fast(one, ones)
			require.Less(t, worst(t, a, b), 0.25)
			require.Less(t, meanKL(a, b), 0.01)
			require.Less(t, meanKL(a, blend), 0.01)
			require.Less(t, meanKL(b, blend), 0.01)
		})
	}
}

func TestDecodingAllocatesLittle(t *testing.T) {
	m := open(t, tiny.Config, gguf.Q8_0)
	s := stack(t, m.Config)
	side, err := m.NewSide(s)
	require.NoError(t, err)
	cache := m.NewCache(600)
	in := []Input{{Cache: cache, Tokens: tokens(1, 200, m.Config.Vocab), Row: s.RowWeights([]float32{1, 1, 1})}}
	require.NoError(t, m.Forward(t.Context(), side, in, nil))
	in[0].Tokens, in[0].Want = []int32{5}, WantLast
	one := func() {
		if err := m.Forward(t.Context(), side, in, func(int, int, []float32) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	// Closures for the team, some a layer; nothing that grows with the sequence.
	few := testing.AllocsPerRun(50, one)
	all(t, m, side, []Input{{Cache: cache, Tokens: tokens(2, 200, m.Config.Vocab)}})
	require.InDelta(t, few, testing.AllocsPerRun(50, one), 10)
	t.Logf("%.0f allocations a token on %d layers", few, m.Config.Layers)
	require.Less(t, few, 60*float64(m.Config.Layers))
}
