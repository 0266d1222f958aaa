package adapter

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/arch"
	"crayon/internal/safetensors"
)

// TestRealPEFT is the Go half of test/peft/check.py: it imports adapters that
// peft made, compares each weight's change with peft's own reckoning, and
// exports their blend for peft to load.
func TestRealPEFT(t *testing.T) {
	dir := os.Getenv("CRAYON_PEFT_DIR")
	if dir == "" {
		t.Skip("needs adapters made by peft: `python test/peft/check.py make DIR`, then CRAYON_PEFT_DIR=DIR")
	}
	cases, err := filepath.Glob(filepath.Join(dir, "*", "model.json"))
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, model := range cases {
		folder := filepath.Dir(model)
		t.Run(filepath.Base(folder), func(t *testing.T) {
			text, err := os.ReadFile(model)
			require.NoError(t, err)
			var c arch.Config
			require.NoError(t, json.Unmarshal(text, &c))
			deltas, err := safetensors.Read(filepath.Join(folder, "deltas.safetensors"))
			require.NoError(t, err)

			var imported []*Adapter
			for _, name := range []string{"plain", "pattern"} {
				a, err := ReadPEFT(filepath.Join(folder, name), c)
				require.NoError(t, err)
				require.Len(t, a.Pairs, c.Slots())
				t.Logf("import %s: delta=%.2e", name, worst(t, deltas, name, a, c))
				imported = append(imported, a)
			}
			s, err := NewStack(imported)
			require.NoError(t, err)
			blend := s.Merge([]float32{0.7, 0.3}, "blend")
			t.Logf("blend: delta=%.2e", worst(t, deltas, "blend", blend, c))
			require.NoError(t, WritePEFT(filepath.Join(folder, "export"), blend, c, filepath.Join(folder, "base")))
			path := filepath.Join(folder, "blend.gguf")
			require.NoError(t, WriteGGUF(path, blend, c))
			back, err := ReadGGUF(path, c)
			require.NoError(t, err)
			require.Less(t, Residual(blend, back), 1e-6)
		})
	}
}

// worst is the largest relative difference of a change, over the layers that
// check.py kept. The rows are put back in Hugging Face order here, apart from
// the code under test.
func worst(t *testing.T, deltas *safetensors.File, name string, a *Adapter, c arch.Config) float64 {
	top, seen := 0.0, 0
	for _, slot := range a.Slots() {
		d := deltas.Tensor(name + "/" + modulePath(slot))
		if d == nil {
			continue
		}
		seen++
		out, in := c.Shape(slot.Kind())
		require.Equal(t, []int{out, in}, d.Shape)
		got := a.Dense(slot)
		if k := slot.Kind().String(); strings.HasSuffix(k, "_q") || strings.HasSuffix(k, "_k") {
			ordered := make([]float32, 0, len(got))
			for r := range out { // r = (head, half, i)
				head, in2 := r/c.HeadDim, r%c.HeadDim
				half, i := in2/(c.HeadDim/2), in2%(c.HeadDim/2)
				row := head*c.HeadDim + 2*i + half
				ordered = append(ordered, got[row*in:(row+1)*in]...)
			}
			got = ordered
		}
		want := make([]float64, 0, len(got))
		for _, v := range d.Floats() {
			want = append(want, float64(v))
		}
		miss := apart(want, got)
		require.LessOrEqual(t, miss, 1e-5, "%s %s", name, modulePath(slot))
		top = max(top, miss)
	}
	require.GreaterOrEqual(t, seen, int(arch.Kinds))
	return top
}
