package pool

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
)

func draw(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

func random(rng *rand.Rand, name string, rank int, c arch.Config) *adapter.Adapter {
	a := &adapter.Adapter{Name: name, Scale: 2, Pairs: map[arch.Slot]*adapter.Pair{}}
	for s := range arch.Slot(c.Slots()) {
		out, in := c.Shape(s.Kind())
		a.Pairs[s] = &adapter.Pair{Rank: rank, In: in, Out: out, A: draw(rng, rank*in), B: draw(rng, out*rank)}
	}
	return a
}

// sample is a pool of two blended adapters and a shared one between them, with
// a rival, on the smallest shape there is.
func sample(t testing.TB) *Pool {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	c := arch.Config{Family: "llama", Layers: 1, Dim: 32, Heads: 2, KVHeads: 2, HeadDim: 16, FF: 32}
	p := &Pool{
		Name:    "sample",
		Base:    Base{Name: "none", Digest: "d1", Lineage: "l1", Shape: c},
		Feature: Feature{Name: "q1", Text: "question", MaxTokens: 128, Mean: draw(rng, c.Dim), Scale: draw(rng, c.Dim), Tau: 0.25},
		Prompt:  Prompt{System: "Be brief.", Template: "{{ messages }}"},
		Members: []Member{
			{Name: "red", Rank: 1, Indicator: draw(rng, c.Dim), Examples: 3, Covers: []string{"a", "b"}},
			{Name: "shared", Rank: 2, Shared: true, Examples: 7},
			{Name: "blue", Rank: 1, Indicator: draw(rng, c.Dim), Examples: 4, Covers: []string{"c"}},
		},
		Keep: 1,
		Made: Provenance{Created: "2026-01-02T03:04:05Z", Recipe: "adapters: 2\n", Seed: math.MaxUint64, Data: []string{"a: 3 rows"}, Licences: []string{"MIT"},
			Licence: "CC-BY-4.0", Loss: 1.5, Examples: 7, Steps: 9, Seconds: 2.25, Workers: 2,
			Sets: []DataSet{{"a", 3, "MIT"}, {"b", 4, "CC BY-SA 4.0"}}, Device: "CPU", Program: "crayon dev", Limits: []string{"anything real"}, Files: []string{"a train: 3 rows"}},
		Baseline: map[string]*adapter.Adapter{"single": random(rng, "single", 3, c)},
		Coverage: []Cover{{"a", 3, make([]float32, c.Dim)}, {"b", 4, make([]float32, c.Dim)}},
	}
	p.Coverage[0].Direction[3], p.Coverage[1].Direction[5] = 1, -1
	var all []*adapter.Adapter
	for _, m := range p.Members {
		all = append(all, random(rng, m.Name, m.Rank, c))
	}
	var err error
	p.Stack, err = adapter.NewStack(all)
	require.NoError(t, err)
	return p
}

func TestRoundTrip(t *testing.T) {
	// Rounding to this share of a block's largest value, about.
	step := map[gguf.Type]float64{gguf.F32: 0, gguf.F16: 1e-3, gguf.Q8_0: 1.0 / 200, gguf.Q5_0: 1.0 / 14, gguf.Q4_1: 1.0 / 6, gguf.Q4_0: 1.0 / 6}
	for kind, step := range step {
		t.Run(kind.String(), func(t *testing.T) {
			p := sample(t)
			data, err := p.Bytes(kind)
			require.NoError(t, err)
			got, err := Parse(data)
			require.NoError(t, err)
			require.Equal(t, kind.String(), got.Made.Store)
			got.Made.Store = ""
			if d := cmp.Diff(p, got, cmpopts.IgnoreUnexported(Pool{}), cmpopts.IgnoreFields(Pool{}, "Stack", "Baseline")); d != "" {
				t.Fatal(d)
			}
			require.Equal(t, p.Stack.Owner, got.Stack.Owner)
			require.Equal(t, p.Stack.Adapters, got.Stack.Adapters)
			require.Equal(t, p.Stack.Rank, got.Rank())
			near := func(want, is map[arch.Slot]*adapter.Pair, scale float32) {
				require.Len(t, is, len(want))
				for s, a := range want {
					for i, x := range a.A {
						require.InDelta(t, x, is[s].A[i], 5*step)
					}
					for i, x := range a.B {
						require.InDelta(t, scale*x, is[s].B[i], 10*step)
					}
				}
			}
			near(p.Stack.Pairs, got.Stack.InMemory().Pairs, 1)
			near(p.Baseline["single"].Pairs, got.Baseline["single"].Pairs, 2)
			require.EqualValues(t, 1, got.Baseline["single"].Scale)
			// The values stored are values of the type: a second trip changes nothing.
			if kind == gguf.F32 || kind == gguf.F16 {
				again, err := got.Bytes(kind) // without the type's name in the card, as before
				require.NoError(t, err)
				require.Equal(t, data, again)
			}
			// A pool as read can be taken apart and merged like one just made.
			kept, w := got.Stack.Keep([]float32{0.5, 1, 0})
			require.Equal(t, []float32{0.5, 1}, w)
			require.Equal(t, 3, kept.Rank)
		})
	}
}

func TestBytesAreDeterministic(t *testing.T) {
	a, err := sample(t).Bytes(gguf.Q8_0)
	require.NoError(t, err)
	for range 5 {
		b, err := sample(t).Bytes(gguf.Q8_0)
		require.NoError(t, err)
		require.Equal(t, a, b)
	}
}

func TestWriteAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "p.crayon")
	stored, err := sample(t).Write(path, gguf.Q8_0)
	require.NoError(t, err)
	opened, err := Open(path)
	require.NoError(t, err)
	digest, err := gguf.Digest(path)
	require.NoError(t, err)
	require.Equal(t, digest, stored.Digest())
	require.Equal(t, digest, opened.Digest())
	_, err = Open(path + "x")
	require.ErrorContains(t, err, "no such file")
	require.NotEmpty(t, fault.Hint(err))
	bad := sample(t)
	bad.Stack.Pairs[0].A[0] = float32(math.NaN())
	_, err = bad.Write(path, gguf.F32)
	require.Error(t, err)
	still, err := Open(path)
	require.NoError(t, err)
	require.Equal(t, digest, still.Digest(), "a failed write leaves the old file")
}

func TestParseTruncated(t *testing.T) {
	data, err := sample(t).Bytes(gguf.Q8_0)
	require.NoError(t, err)
	_, err = Parse(data)
	require.NoError(t, err)
	for n := range data {
		if _, err := Parse(data[:n]); err == nil {
			// Only the last tensor's padding may be missing.
			require.Less(t, len(data)-n, 32, "cut at %d of %d", n, len(data))
		}
	}
}

// spoil rewrites a good pool file with other keys and tensors.
func spoil(t testing.TB, set map[string]any, swap func(*gguf.Tensor) *gguf.Tensor) []byte {
	t.Helper()
	data, err := sample(t).Bytes(gguf.F32)
	require.NoError(t, err)
	f, err := gguf.Parse(data)
	require.NoError(t, err)
	b := gguf.NewBuilder()
	if e, there := set["crayon.made.store_error"]; there { // written only when it is known
		b.Set("crayon.made.store_error", e)
	}
	for _, k := range f.Keys() {
		v, _ := f.Value(k)
		if n, there := set[k]; there {
			v = n
		}
		if v != nil {
			b.Set(k, v)
		}
	}
	for _, w := range f.Tensors() {
		if swap != nil {
			w = swap(w)
		}
		if w != nil {
			b.Add(w.Name, w.Shape, w.Type, w.Data)
		}
	}
	var buf writer
	_, err = b.WriteTo(&buf)
	require.NoError(t, err)
	return buf
}

type writer []byte

func (w *writer) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}

func TestParseRefuses(t *testing.T) {
	nan := float32(math.NaN())
	for _, x := range []struct {
		key  string
		v    any // nil drops the key
		says string
	}{
		{"general.type", "model", "not a Crayon pool"},
		{"general.type", nil, "not a Crayon pool"},
		{"crayon.version", uint32(2), "version 2"},
		{"crayon.version", nil, "version"},
		{"general.name", nil, "general.name"},
		{"crayon.base.digest", nil, "crayon.base.digest"},
		{"crayon.base.lineage", uint32(3), "crayon.base.lineage"},
		{"crayon.base.layers", uint32(0), "crayon.base"},
		{"crayon.base.layers", uint32(1 << 30), "crayon.base.layers"},
		{"crayon.base.layers", int32(-1), "crayon.base.layers"},
		{"crayon.base.dim", uint32(33), "crayon.base"},
		{"crayon.base.dim", uint32(64), "feature.mean"},
		{"crayon.base.heads", uint32(0), "crayon.base"},
		{"crayon.base.kv_heads", uint32(3), "crayon.base"},
		{"crayon.base.ff", uint32(64), "blk.0.ffn_"},
		{"crayon.feature.text", "answer", "crayon.feature"},
		{"crayon.feature.layer", uint32(2), "crayon.feature"},
		{"crayon.feature.tau", float32(0), "crayon.feature"},
		{"crayon.feature.tau", float32(-1), "crayon.feature"},
		{"crayon.feature.tau", nan, "crayon.feature.tau"},
		{"crayon.feature.max_tokens", uint32(0), "crayon.feature"},
		{"crayon.feature.max_tokens", int32(-5), "crayon.feature.max_tokens"},
		{"crayon.prompt.template", nil, "crayon.prompt.template"},
		{"crayon.keep", int32(-1), "crayon.keep"},
		{"crayon.members.names", []string{}, "crayon.members"},
		{"crayon.members.names", []string{"red", "shared"}, "crayon.members"},
		{"crayon.members.names", []string{"red", "shared", "red"}, `"red"`},
		{"crayon.members.names", []string{"red", "shared", ""}, "crayon.members"},
		{"crayon.members.ranks", []int32{1, 2}, "crayon.members"},
		{"crayon.members.ranks", []int32{1, 2, 2}, "rank"},
		{"crayon.members.ranks", []int32{1, 2, 0}, `"blue"`},
		{"crayon.members.ranks", []int32{1, 4, -1}, `"blue"`},
		{"crayon.members.ranks", []int32{4000, 4000, 4000}, "rank 12000"},
		{"crayon.members.ranks", []int32{math.MaxInt32, 1, 1}, `"red"`},
		{"crayon.members.shared", []int32{1, 1, 1}, "0 blended"},
		{"crayon.members.shared", []int32{0, 2, 0}, `"shared"`},
		{"crayon.members.shared", []int32{0, 0, 0}, "indicators"},
		{"crayon.members.examples", []int32{1, 2, -3}, `"blue"`},
		{"crayon.members.covers", []string{}, "crayon.members"},
		{"crayon.made.loss", nan, "crayon.made.loss"},
		{"crayon.made.steps", nil, "crayon.made.steps"},
		{"crayon.made.sets.names", []string{"a"}, "crayon.made.sets"},
		{"crayon.made.sets.rows", []int32{3, -4}, "crayon.made.sets.rows"},
		{"crayon.made.store_error", nan, "crayon.made.store_error"},
		{"crayon.coverage.names", []string{"a", "b", "c"}, "crayon.coverage"},
		{"crayon.coverage.rows", []int32{3, -1}, "crayon.coverage.rows"},
		{"crayon.baseline.names", []string{"single", "single"}, "there twice"},
		{"crayon.baseline.names", []string{"a.b"}, "no name"},
		{"crayon.baseline.names", []string{"other"}, "crayon.baseline.other.rank"},
		{"crayon.baseline.single.rank", uint32(4), "baseline.single"},
		{"crayon.baseline.single.rank", uint32(0), "baseline.single"},
		{"crayon.baseline.single.rank", uint32(1 << 20), "crayon.baseline.single.rank"},
	} {
		t.Run(fmt.Sprintf("%s=%v", x.key, x.v), func(t *testing.T) {
			_, err := Parse(spoil(t, map[string]any{x.key: x.v}, nil))
			require.ErrorContains(t, err, x.says)
		})
	}
}

func TestParseRefusesTensors(t *testing.T) {
	change := func(name string, change func(*gguf.Tensor) *gguf.Tensor) func(*gguf.Tensor) *gguf.Tensor {
		return func(w *gguf.Tensor) *gguf.Tensor {
			if w.Name == name {
				return change(w)
			}
			return w
		}
	}
	gone := func(*gguf.Tensor) *gguf.Tensor { return nil }
	put := func(v float32) func(w *gguf.Tensor) *gguf.Tensor {
		return func(w *gguf.Tensor) *gguf.Tensor {
			n := *w
			n.Data = slices.Clone(w.Data)
			binary.LittleEndian.PutUint32(n.Data[8:], math.Float32bits(v)) // in 16 bits, the upper half is no number either
			return &n
		}
	}
	narrow := func(w *gguf.Tensor) *gguf.Tensor {
		n := *w
		n.Shape, n.Data = []int{16, w.Rows()}, w.Data[:len(w.Data)/2]
		return &n
	}
	half := func(w *gguf.Tensor) *gguf.Tensor {
		v := make([]float32, w.Elements())
		w.Floats(v)
		n := *w
		n.Type = gguf.F16
		n.Data, _ = gguf.Quantize(gguf.F16, v)
		return &n
	}
	a := sideName(arch.SlotOf(0, arch.V), "a")
	_, err := Parse(spoil(t, nil, change("feature.scale", gone)))
	require.NoError(t, err, "a pool may have no scale")
	_, err = Parse(spoil(t, nil, change("feature.scale", put(float32(math.NaN())))))
	require.ErrorContains(t, err, "feature.scale")
	for _, name := range []string{"feature.mean", "indicators", "coverage", a, "baseline.single." + a} {
		for what, change := range map[string]func(string) func(*gguf.Tensor) *gguf.Tensor{
			"gone":     func(n string) func(*gguf.Tensor) *gguf.Tensor { return change(n, gone) },
			"NaN":      func(n string) func(*gguf.Tensor) *gguf.Tensor { return change(n, put(float32(math.NaN()))) },
			"infinite": func(n string) func(*gguf.Tensor) *gguf.Tensor { return change(n, put(float32(math.Inf(-1)))) },
			"narrow":   func(n string) func(*gguf.Tensor) *gguf.Tensor { return change(n, narrow) },
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				_, err := Parse(spoil(t, nil, change(name)))
				require.Error(t, err)
			})
		}
	}
	_, err = Parse(spoil(t, nil, change("indicators", half)))
	require.ErrorContains(t, err, "F32")
	_, err = Parse(spoil(t, nil, func(w *gguf.Tensor) *gguf.Tensor {
		if w.Name == "feature.mean" || w.Name == "indicators" || w.Name == "coverage" {
			return w
		}
		return nil
	}))
	require.ErrorContains(t, err, "no adapter sides")
	// An adapter need not change every layer.
	p, err := Parse(spoil(t, nil, func(w *gguf.Tensor) *gguf.Tensor {
		if w.Name == a || w.Name == sideName(arch.SlotOf(0, arch.V), "b") {
			return nil
		}
		return w
	}))
	require.NoError(t, err)
	require.Len(t, p.Stack.Slots(), 6)
}

func FuzzParse(f *testing.F) {
	data, err := sample(f).Bytes(gguf.Q8_0)
	require.NoError(f, err)
	f.Add(data)
	f.Add(spoil(f, map[string]any{"crayon.members.ranks": []int32{1, 2, 4000}}, nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse(data)
		if err != nil {
			return
		}
		if p.Stack.Rank != len(p.Stack.Owner) || p.Stack.Adapters != len(p.Members) {
			t.Fatal("a stack that does not fit the members")
		}
		w := Weights(p.Similarity(make([]float32, p.Base.Shape.Dim)), p.Feature.Tau)
		p.Stack.RowWeights(p.All(KeepTop(w, p.Keep), 1))
		if _, err := p.Bytes(gguf.F32); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sim := rapid.SliceOfN(rapid.Float32Range(-1, 1), 1, 20).Draw(t, "similarity")
		tau := rapid.Float32Range(1e-4, 10).Draw(t, "tau")
		w := Weights(sim, tau)
		var sum float64
		for i, x := range w {
			if !(x >= 0 && x <= 1) {
				t.Fatalf("weight %v", x)
			}
			sum += float64(x)
			for j, y := range w {
				if sim[i] > sim[j] && x < y || sim[i] == sim[j] && x != y {
					t.Fatalf("similarities %v and %v, weights %v and %v", sim[i], sim[j], x, y)
				}
			}
		}
		if math.Abs(sum-1) > 1e-5 {
			t.Fatalf("sum %v", sum)
		}
	})
	require.InDeltaSlice(t, []float32{1 / (1 + float32(math.E)), float32(math.E / (1 + math.E))}, Weights([]float32{0.25, 0.5}, 0.25), 1e-6)
}

func TestKeepTop(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) float32 { return float32(rapid.IntRange(0, 9).Draw(t, "tenths")) / 10 }), 1, 12).Draw(t, "weights")
		k := rapid.IntRange(-1, 14).Draw(t, "k")
		before := slices.Clone(w)
		got := KeepTop(w, k)
		if !slices.Equal(before, w) {
			t.Fatal("the weights given were changed")
		}
		if k <= 0 || k >= len(w) {
			if !slices.Equal(got, w) {
				t.Fatal("all are kept")
			}
			return
		}
		var sum, all float64
		n := 0
		for i, x := range got {
			sum, all = sum+float64(x), all+float64(w[i])
			if x != 0 {
				n++
			}
			for j, y := range got {
				// Kept ones are the largest, in proportion, the earlier at a tie.
				if x != 0 && y == 0 && (w[j] > w[i] || w[j] == w[i] && j < i) {
					t.Fatalf("kept %v of %v, k %d", got, w, k)
				}
				if x != 0 && y != 0 && math.Abs(float64(x)*float64(w[j])-float64(y)*float64(w[i])) > 1e-5*all {
					t.Fatalf("proportions changed: %v of %v", got, w)
				}
			}
		}
		if n > k || math.Abs(sum-all) > 1e-5*max(1, all) {
			t.Fatalf("%d kept of sum %v: %v of %v", n, all, got, w)
		}
	})
}

func TestAverageAndAll(t *testing.T) {
	require.Equal(t, []float32{0.5, 0.25, 0.25}, Average([][]float32{{1, 0, 0}, {0, 0.5, 0.5}}))
	require.Equal(t, []float32{0.25, 1, 0.75}, sample(t).All([]float32{0.25, 0.75}, 1))
}

func TestDirection(t *testing.T) {
	d, err := Direction([]float32{4, 6}, []float32{1, 2}, nil)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float32{0.6, 0.8}, d, 1e-6)
	d, err = Direction([]float32{4, 6}, []float32{1, 2}, []float32{2, 2})
	require.NoError(t, err)
	require.InDeltaSlice(t, []float32{0.6, 0.8}, d, 1e-6)
	d, err = Direction([]float32{4, 6}, []float32{1, 2}, []float32{1, 0})
	require.NoError(t, err)
	require.Equal(t, []float32{1, 0}, d)
	d, err = Direction([]float32{1, 2}, []float32{1, 2}, nil)
	require.NoError(t, err)
	require.Equal(t, []float32{0, 0}, d, "the mean itself is like nothing")
	_, err = Direction([]float32{1}, []float32{1, 2}, nil)
	require.Error(t, err)
}

// Distance is the Frobenius norm over all layers of the difference of the
// dense blends, relative to the first.
func TestDistanceIsThatOfTheDenseProducts(t *testing.T) {
	p := sample(t)
	rapid.Check(t, func(t *rapid.T) {
		pair := rapid.SliceOfN(rapid.Float32Range(-1, 1), 2, 2)
		a, b := pair.Draw(t, "a"), pair.Draw(t, "b")
		var miss, whole float64
		for _, s := range p.Stack.Slots() {
			x, y := p.Stack.Dense(s, p.All(a, 1)), p.Stack.Dense(s, p.All(b, 1))
			for i := range x {
				whole += float64(x[i]) * float64(x[i])
				miss += float64(x[i]-y[i]) * float64(x[i]-y[i])
			}
		}
		want, got := math.Sqrt(miss/whole), p.Distance(a, b)
		if math.Abs(got-want) > 1e-4*(1+want) {
			t.Fatalf("%v, the dense products say %v", got, want)
		}
	})
}

func TestCheck(t *testing.T) {
	p := sample(t)
	c := p.Base.Shape
	warning, err := p.Check("d1", "l1", c)
	require.NoError(t, err)
	require.Empty(t, warning)
	warning, err = p.Check("d2", "l1", c)
	require.NoError(t, err)
	require.Contains(t, warning, "quantisation")
	_, err = p.Check("d1", "l2", c)
	require.ErrorContains(t, err, "lineage")
	require.Equal(t, fault.ExitVerify, fault.Code(err))
	c.FF++
	_, err = p.Check("d1", "l1", c)
	require.ErrorContains(t, err, "shape")
}
