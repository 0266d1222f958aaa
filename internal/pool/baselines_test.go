package pool

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
	"crayon/internal/fault"
	"crayon/internal/gguf"
)

// rivals gives the sample several baselines of different ranks.
func rivals(t testing.TB) *Pool {
	p := sample(t)
	rng := rand.New(rand.NewPCG(3, 4))
	p.Baseline = map[string]*adapter.Adapter{}
	for name, rank := range map[string]int{"single": 2, "single_r24": 24, "single_total": 5} {
		p.Baseline[name] = random(rng, name, rank, p.Base.Shape)
	}
	return p
}

func TestBaselinesOfSeveralRanks(t *testing.T) {
	p := rivals(t)
	data, err := p.Bytes(gguf.F32)
	require.NoError(t, err)
	got, err := Parse(data)
	require.NoError(t, err)
	require.Len(t, got.Baseline, 3)
	for name, a := range p.Baseline {
		require.Equal(t, a.Rank(), got.Baseline[name].Rank())
		require.InDelta(t, 0, adapter.Residual(a, got.Baseline[name]), 1e-6)
	}
	p.Baseline["a/b"] = p.Baseline["single"]
	_, err = p.Bytes(gguf.F32)
	require.ErrorContains(t, err, "cannot name a baseline")
}

func TestBaselinesApart(t *testing.T) {
	dir := t.TempDir()
	with, err := rivals(t).Write(filepath.Join(dir, "with.crayon"), gguf.Q8_0)
	require.NoError(t, err)
	apart, err := with.Baselines().Write(filepath.Join(dir, "rivals.gguf"), gguf.F16)
	require.NoError(t, err)
	opened, err := OpenBaselines(filepath.Join(dir, "rivals.gguf"))
	require.NoError(t, err)
	require.Equal(t, apart.Digest(), opened.Digest())
	require.Len(t, opened.Adapters, 3)

	without := sample(t)
	without.Baseline = nil
	bare, err := without.Write(filepath.Join(dir, "bare.crayon"), gguf.Q8_0)
	require.NoError(t, err)
	require.NoError(t, bare.Attach(opened), "the same recipe")
	require.Equal(t, 24, bare.Baseline["single_r24"].Rank())

	refused := func(change func(*Pool), says string) {
		t.Helper()
		p := sample(t)
		change(p)
		err := p.Attach(opened)
		require.ErrorContains(t, err, says)
		require.Equal(t, fault.ExitVerify, fault.Code(err))
	}
	refused(func(p *Pool) { p.Made.Recipe = "other" }, "another recipe")
	refused(func(p *Pool) { p.Base.Lineage = "l2" }, "pool is for l2")
	refused(func(p *Pool) { p.Base.Shape.FF = 64 }, "shape")

	_, err = OpenBaselines(with.Path())
	require.ErrorContains(t, err, "not a file of baselines")
	_, err = Open(filepath.Join(dir, "rivals.gguf"))
	require.ErrorContains(t, err, "not a Crayon pool")
	none := sample(t)
	none.Baseline = nil
	_, err = none.Baselines().Write(filepath.Join(dir, "none.gguf"), gguf.F16)
	require.ErrorContains(t, err, "no baseline")
	require.NoFileExists(t, filepath.Join(dir, "none.gguf"))
}

func FuzzParseBaselines(f *testing.F) {
	data, err := rivals(f).Baselines().bytes(gguf.Q4_0)
	require.NoError(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBaselines(data)
		if err != nil {
			return
		}
		if _, err := b.bytes(gguf.F32); err != nil {
			t.Fatal(err)
		}
	})
}
