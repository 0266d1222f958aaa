package adapter

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/arch"
)

// tiny has every size different, so that a swapped one is found.
var tiny = arch.Config{Family: "llama", Layers: 2, Dim: 12, Heads: 3, KVHeads: 1, HeadDim: 8, FF: 10, Vocab: 9}

// draw makes a random adapter for c: some slots missing, ranks differing.
func draw(t *rapid.T, c arch.Config, name string) *Adapter {
	value := rapid.Float32Range(-2, 2)
	a := &Adapter{Name: name, Scale: rapid.SampledFrom([]float32{0.5, 1, 2, -3}).Draw(t, "scale"), Pairs: map[arch.Slot]*Pair{}}
	top := rapid.IntRange(1, 4).Draw(t, "rank")
	for slot := range arch.Slot(c.Slots()) {
		if len(a.Pairs) > 0 && rapid.IntRange(0, 4).Draw(t, "present") == 0 {
			continue
		}
		out, in := c.Shape(slot.Kind())
		p := &Pair{Rank: rapid.IntRange(1, top).Draw(t, "rank here"), In: in, Out: out}
		// One draw seeds a matrix: drawing every value would be slow.
		p.A = fill(p.Rank*in, value.Draw(t, "a"))
		p.B = fill(out*p.Rank, value.Draw(t, "b"))
		a.Pairs[slot] = p
	}
	return a
}

// fill is a sequence without pattern, a new one for each seed, none of it zero.
func fill(n int, seed float32) []float32 {
	v := make([]float32, n)
	x := math.Float32bits(seed)*2654435761 + 12345
	for i := range v {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		v[i] = (float32(x>>9) + 0.5) / (1 << 22) * float32(1-2*int(x&1))
	}
	return v
}

// sum is sum_k w_k s_k B_k A_k of a slot by the definition, in float64.
func sum(adapters []*Adapter, w []float32, slot arch.Slot, c arch.Config) []float64 {
	out, in := c.Shape(slot.Kind())
	d := make([]float64, out*in)
	for k, a := range adapters {
		p := a.Pairs[slot]
		if p == nil {
			continue
		}
		for o := range out {
			for i := range in {
				for r := range p.Rank {
					d[o*in+i] += float64(w[k]) * float64(a.Scale) * float64(p.B[o*p.Rank+r]) * float64(p.A[r*in+i])
				}
			}
		}
	}
	return d
}

// apart is the Frobenius norm of the difference relative to that of want.
func apart(want []float64, got []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	var miss, whole float64
	for i, v := range want {
		miss += (v - float64(got[i])) * (v - float64(got[i]))
		whole += v * v
	}
	if miss == 0 {
		return 0
	}
	return math.Sqrt(miss / whole)
}

// The identity the blend rests on: in float32, in every form it takes, the
// stack is the sum of the products.
func TestStackIsTheSumOfTheProducts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 4).Draw(t, "adapters")
		adapters, w := make([]*Adapter, n), make([]float32, n)
		for k := range adapters {
			adapters[k] = draw(t, tiny, "a")
			w[k] = rapid.SampledFrom([]float32{0, 0.1, 0.25, 0.6, 1, -0.5}).Draw(t, "weight")
		}
		s, err := NewStack(adapters)
		require.NoError(t, err)
		require.Len(t, s.Owner, s.Rank)
		kept, left := s.Keep(w)
		require.Equal(t, len(left), kept.Adapters)
		for _, v := range left {
			require.NotZero(t, v)
		}
		merged := s.Merge(w, "blend")
		rows := s.RowWeights(w)
		for slot := range arch.Slot(tiny.Slots()) {
			want := sum(adapters, w, slot, tiny)
			p := s.Pairs[slot]
			if p == nil {
				require.Zero(t, apart(want, make([]float32, len(want))))
				continue
			}
			require.NoError(t, p.check())
			require.Equal(t, s.Rank, p.Rank)
			// The forward pass's own order: u = w * (A x) in float32, then B u,
			// for every unit x.
			single := make([]float32, p.Out*p.In)
			for i := range p.In {
				for o := range p.Out {
					var y float32
					for r := range p.Rank {
						y += p.B[o*p.Rank+r] * (rows[r] * p.A[r*p.In+i])
					}
					single[o*p.In+i] = y
				}
			}
			limit := 1e-5
			if cancels(adapters, w, slot, want) {
				limit = 1e-3
			}
			require.LessOrEqual(t, apart(want, single), limit, "float32 product")
			require.LessOrEqual(t, apart(want, s.Dense(slot, w)), limit, "Dense")
			require.LessOrEqual(t, apart(want, merged.Dense(slot)), limit, "Merge")
			require.LessOrEqual(t, apart(want, kept.Dense(slot, left)), limit, "Keep")
		}
	})
}

// cancels reports that the terms are much larger than their sum, where no
// float32 sum is exact to 1e-5 of it.
func cancels(adapters []*Adapter, w []float32, slot arch.Slot, total []float64) bool {
	var terms, whole float64
	for k := range adapters {
		for _, v := range sum(adapters[k:k+1], w[k:k+1], slot, tiny) {
			terms += v * v
		}
	}
	for _, v := range total {
		whole += v * v
	}
	return terms > 100*whole
}

func TestKeepRenumbersOwners(t *testing.T) {
	one := func(rank int) *Adapter {
		return &Adapter{Scale: 1, Pairs: map[arch.Slot]*Pair{0: {Rank: rank, In: 2, Out: 3, A: fill(rank*2, 1), B: fill(3*rank, 2)}}}
	}
	s, err := NewStack([]*Adapter{one(2), one(1), one(3)})
	require.NoError(t, err)
	require.Equal(t, []int{0, 0, 1, 2, 2, 2}, s.Owner)
	require.Equal(t, []float32{5, 5, 0, 7, 7, 7}, s.RowWeights([]float32{5, 0, 7}))
	kept, w := s.Keep([]float32{0, 0.5, 0.25})
	require.Equal(t, []float32{0.5, 0.25}, w)
	require.Equal(t, []int{0, 1, 1, 1}, kept.Owner)
	require.Equal(t, []float32{0.5, 0.25, 0.25, 0.25}, kept.RowWeights(w))
	none, w := s.Keep([]float32{0, 0, 0})
	require.Empty(t, w)
	require.Zero(t, none.Rank)
}

func TestNewStackRefuses(t *testing.T) {
	_, err := NewStack(nil)
	require.ErrorContains(t, err, "there are none")
	pair := func(in, out int) *Adapter {
		return &Adapter{Name: "x", Scale: 1, Pairs: map[arch.Slot]*Pair{3: {Rank: 1, In: in, Out: out, A: make([]float32, in), B: make([]float32, out)}}}
	}
	_, err = NewStack([]*Adapter{pair(2, 3), pair(3, 2)})
	require.ErrorContains(t, err, "x, blk.0.attn_output.weight is for a layer of 2 x 3, the others' is 3 x 2")
	broken := pair(2, 3)
	broken.Pairs[3].A = nil
	_, err = NewStack([]*Adapter{broken})
	require.ErrorContains(t, err, "A has 0 values")
}

func TestResidualIsTheDenseOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		exact, stored := draw(t, tiny, "exact"), draw(t, tiny, "stored")
		if rapid.Bool().Draw(t, "near") { // a copy, a little off, as after storing
			stored = &Adapter{Scale: exact.Scale, Pairs: map[arch.Slot]*Pair{}}
			for slot, p := range exact.Pairs {
				q := *p
				q.A = append([]float32(nil), p.A...)
				q.A[0] *= 1.001
				stored.Pairs[slot] = &q
			}
		}
		var miss, whole float64
		for slot := range arch.Slot(tiny.Slots()) {
			e, s := sum([]*Adapter{exact}, []float32{1}, slot, tiny), sum([]*Adapter{stored}, []float32{1}, slot, tiny)
			for i := range e {
				miss += (e[i] - s[i]) * (e[i] - s[i])
				whole += e[i] * e[i]
			}
		}
		require.InEpsilon(t, math.Sqrt(miss/whole), Residual(exact, stored), 1e-6)
		require.Zero(t, Residual(exact, exact))
	})
	none := &Adapter{Scale: 1}
	require.Zero(t, Residual(none, none))
	some := &Adapter{Scale: 1, Pairs: map[arch.Slot]*Pair{0: {Rank: 1, In: 1, Out: 1, A: []float32{1}, B: []float32{1}}}}
	wide := &Adapter{Scale: 1, Pairs: map[arch.Slot]*Pair{0: {Rank: 1, In: 2, Out: 1, A: []float32{1, 1}, B: []float32{1}}}}
	require.True(t, math.IsInf(Residual(none, some), 1))
	require.True(t, math.IsInf(Residual(some, wide), 1))
	require.Equal(t, 1.0, Residual(some, none))
}

func TestValidateNamesEveryFault(t *testing.T) {
	pair := func(slot arch.Slot) *Pair {
		out, in := tiny.Shape(slot.Kind())
		return &Pair{Rank: 2, In: in, Out: out, A: fill(2*in, 1), B: fill(out*2, 2)}
	}
	a := &Adapter{Name: "mine", Scale: 1, Pairs: map[arch.Slot]*Pair{}}
	for s := range arch.Slot(tiny.Slots()) {
		a.Pairs[s] = pair(s)
	}
	require.NoError(t, Validate(a, tiny))

	a.Scale = float32(math.NaN())
	a.Pairs[0].B[3] = float32(math.Inf(1))
	a.Pairs[1].A[1] = float32(math.NaN())
	clear(a.Pairs[2].B)
	clear(a.Pairs[3].A)
	a.Pairs[4] = pair(6)
	a.Pairs[5].A = a.Pairs[5].A[1:]
	a.Pairs[6] = nil
	a.Pairs[7].Rank = 0
	a.Pairs[99] = pair(0)
	a.Pairs[-1] = pair(0)
	err := Validate(a, tiny)
	for _, want := range []string{
		"mine", "its scale is NaN", "blk.0.attn_q.weight: B holds +Inf at 3", "blk.0.attn_k.weight: A holds NaN at 1",
		"blk.0.attn_v.weight: B is all zero", "blk.0.attn_output.weight: A is all zero",
		"blk.0.ffn_gate.weight: it is for a layer of 12 x 10, the model's is 10 x 12", "blk.0.ffn_up.weight: matrix A has 23 values",
		"blk.0.ffn_down.weight: it has no weights", "blk.1.attn_q.weight: rank 0", "blk.14.attn_k.weight: the model has 2 layers", "slot -1",
	} {
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, 11, strings.Count(err.Error(), "\n")+1)
	require.ErrorContains(t, Validate(&Adapter{Scale: 1}, tiny), "it changes no layer")
}

// One more adapter behind a stack is the stack of them all, in every slot that
// any of them changes.
func TestWithEqualsTheStackOfAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := []*Adapter{draw(t, tiny, "a"), draw(t, tiny, "b"), draw(t, tiny, "c")}
		want, err := NewStack(all)
		require.NoError(t, err)
		two, err := NewStack(all[:2])
		require.NoError(t, err)
		got, err := two.With(all[2])
		require.NoError(t, err)
		require.Equal(t, want, got)
		got, err = (&Stack{}).With(all[0])
		require.NoError(t, err)
		one, err := NewStack(all[:1])
		require.NoError(t, err)
		require.Equal(t, one, got)
	})
	a := &Adapter{Name: "a", Scale: 1, Pairs: map[arch.Slot]*Pair{0: {Rank: 1, In: 2, Out: 1, A: []float32{1, 2}, B: []float32{1}}}}
	s, err := NewStack([]*Adapter{a})
	require.NoError(t, err)
	_, err = s.With(&Adapter{Name: "b", Scale: 1, Pairs: map[arch.Slot]*Pair{0: {Rank: 1, In: 1, Out: 1, A: []float32{1}, B: []float32{1}}}})
	require.ErrorContains(t, err, "size")
	_, err = s.With(&Adapter{Name: "b", Scale: 1, Pairs: map[arch.Slot]*Pair{0: {Rank: 1, In: 2, Out: 1, A: []float32{1}, B: []float32{1}}}})
	require.Error(t, err)
}
