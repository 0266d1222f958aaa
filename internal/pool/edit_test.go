package pool

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/gguf"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// sameBits asks that a member is stored in q as it is in p.
func sameBits(t *testing.T, p, q *Pool, name string) {
	t.Helper()
	index := func(p *Pool) int {
		for i, m := range p.Members {
			if m.Name == name {
				return i
			}
		}
		t.Fatalf("%s is not there", name)
		return -1
	}
	a, b := p.alone(index(p)), q.alone(index(q))
	require.Equal(t, p.Members[index(p)], q.Members[index(q)])
	for s, pair := range a.Pairs {
		require.Equal(t, pair, b.Pairs[s], name)
	}
}

func TestRetire(t *testing.T) {
	for _, kind := range []gguf.Type{gguf.F32, gguf.Q5_0} {
		p, _, err := sample(t).stored(kind)
		require.NoError(t, err)
		for _, name := range []string{"red", "blue"} {
			got, err := p.Retire(name, noon)
			require.NoError(t, err)
			require.Len(t, got.Members, 2)
			require.Equal(t, 3, got.Rank())
			for _, m := range p.Members {
				if m.Name != name {
					sameBits(t, p, got, m.Name)
				}
			}
			require.Len(t, got.Made.Changes, 1)
			require.Contains(t, got.Made.Changes[0], "2026-01-02: retired "+name+", of rank 1 (from "+p.Digest()[:12])
			require.Equal(t, 3, got.Baseline["single"].Rank())
			require.Equal(t, p.Coverage, got.Coverage)
			_, err = got.Retire(got.Members[got.Blended()[0]].Name, noon)
			require.ErrorContains(t, err, "only blended")
		}
		_, err = p.Retire("shared", noon)
		require.ErrorContains(t, err, "shared adapter")
		_, err = p.Retire("green", noon)
		require.ErrorContains(t, err, "no adapter of this name")
	}
}

func TestAdd(t *testing.T) {
	p, _, err := sample(t).stored(gguf.Q8_0)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(7, 8))
	own := random(rng, "x", 3, p.Base.Shape)
	delete(own.Pairs, arch.SlotOf(0, arch.V)) // it need not change every layer
	x := Expert{Name: "mine", Adapter: own, Source: "a folder", Licence: "MIT", Covers: []string{"mine"}, Directions: [][]float32{unitAt(32, 3), unitAt(32, 3), unitAt(32, 9)}}
	got, err := p.Add(x, noon)
	require.NoError(t, err)
	for _, m := range p.Members {
		sameBits(t, p, got, m.Name)
	}
	require.Equal(t, p.Rank()+3, got.Rank())
	m := got.Members[3]
	require.Equal(t, []any{"mine", 3, false, 3, []string{"mine"}}, []any{m.Name, m.Rank, m.Shared, m.Examples, m.Covers})
	require.InDelta(t, 1, Cosine(m.Indicator, m.Indicator), 1e-5)
	require.InDelta(t, 2*m.Indicator[9], m.Indicator[3], 1e-5)
	require.Less(t, adapter.Residual(own, got.alone(3)), 0.02)
	require.Contains(t, got.Made.Changes[0], "added mine, of rank 3, from a folder, licence MIT, for what 3 examples are like")
	require.Equal(t, DataSet{"mine", 3, "MIT"}, got.Made.Sets[2])
	require.Equal(t, "mine", got.Coverage[2].Name)
	// A question like the examples gets its weight.
	w := Weights(got.Similarity(unitAt(32, 3)), 0.05)
	require.Greater(t, w[2], float32(0.9))

	// And out again: all is as it was.
	back, err := got.Retire("mine", noon)
	require.NoError(t, err)
	for _, m := range p.Members {
		sameBits(t, p, back, m.Name)
	}
	require.Len(t, back.Made.Changes, 2)

	for says, spoil := range map[string]func(*Expert){
		"of this name": func(x *Expert) { x.Name = "RED" },
		"can name":     func(x *Expert) { x.Name = "a b" },
		"no examples":  func(x *Expert) { x.Directions = nil },
		"cancel":       func(x *Expert) { x.Directions = [][]float32{make([]float32, 32)} },
		"a comma":      func(x *Expert) { x.Covers = []string{"a,b"} },
		"it is for a laye": func(x *Expert) {
			x.Adapter = random(rng, "x", 2, arch.Config{Layers: 1, Dim: 64, Heads: 2, KVHeads: 2, HeadDim: 32, FF: 32})
		},
		"above 4096": func(x *Expert) { x.Adapter = random(rng, "x", 4096, p.Base.Shape) },
	} {
		bad := x
		spoil(&bad)
		_, err := p.Add(bad, noon)
		require.ErrorContains(t, err, says)
	}
}

// An adapter may change a layer that no other of the pool does.
func TestAddToALayerOfItsOwn(t *testing.T) {
	p := sample(t)
	slot := arch.SlotOf(0, arch.V)
	delete(p.Stack.Pairs, slot)
	stored, _, err := p.stored(gguf.Q8_0)
	require.NoError(t, err)
	rng := rand.New(rand.NewPCG(7, 8))
	got, err := stored.Add(Expert{Name: "mine", Adapter: random(rng, "x", 2, p.Base.Shape), Licence: "MIT", Directions: [][]float32{unitAt(32, 1)}}, noon)
	require.NoError(t, err)
	require.Nil(t, nonzero(got.Stack.Dense(slot, []float32{1, 1, 1, 0})))
	require.NotNil(t, nonzero(got.Stack.Dense(slot, []float32{0, 0, 0, 1})))
}

func nonzero(v []float32) []float32 {
	for _, x := range v {
		if x != 0 {
			return v
		}
	}
	return nil
}

func unitAt(n, i int) []float32 {
	v := make([]float32, n)
	v[i] = 1
	return v
}

func TestStripAndSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.crayon")
	p, err := rivals(t).Write(path, gguf.Q8_0)
	require.NoError(t, err)
	one, err := p.Strip("single_r24")
	require.NoError(t, err)
	require.Len(t, one.Baseline, 1)
	none, err := one.Strip()
	require.NoError(t, err)
	require.Empty(t, none.Baseline)
	require.Less(t, none.Size(), one.Size())
	saved := 0
	for _, b := range p.BaselineSizes() {
		saved += b.Bytes
	}
	require.InDelta(t, p.Size()-none.Size(), saved, 8192, "the report of sizes is what stripping saves, but for names")
	for _, m := range p.Members {
		sameBits(t, p, none, m.Name)
	}
	kept, err := none.Save(path + "2")
	require.NoError(t, err)
	require.Equal(t, none.Digest(), kept.Digest())
	_, err = p.Strip("other")
	require.ErrorContains(t, err, `no baseline "other"`)
	require.NoError(t, none.Attach(p.Baselines()))

	// An edit is of the file as it was read, whatever is there by now.
	require.NoError(t, os.WriteFile(path, []byte("other"), 0o600))
	again, err := p.Strip()
	require.NoError(t, err)
	require.Equal(t, none.Digest(), again.Digest())
}
