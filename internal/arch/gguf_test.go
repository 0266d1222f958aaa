package arch_test

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/testmodel"
	"crayon/internal/testmodel/tiny"
)

// edit is what is done to a good model.
type edit struct {
	set   map[string]any
	drop  []string // keys or tensors
	shape map[string][]int
	add   map[string][]int
}

// edited writes the tiny model of a shape anew with an edit.
func edited(t *testing.T, c arch.Config, e edit) *gguf.File {
	t.Helper()
	read := func(b *gguf.Builder) *gguf.File {
		var buf bytes.Buffer
		_, err := b.WriteTo(&buf)
		require.NoError(t, err)
		f, err := gguf.Parse(buf.Bytes())
		require.NoError(t, err)
		return f
	}
	whole, _ := tiny.Builder(c, gguf.Q8_0)
	f := read(whole)
	b := gguf.NewBuilder()
	for _, k := range f.Keys() {
		if v, _ := f.Value(k); !slices.Contains(e.drop, k) {
			b.Set(k, v)
		}
	}
	for k, v := range e.set {
		b.Set(k, v)
	}
	for _, w := range f.Tensors() {
		shape := w.Shape
		if s := e.shape[w.Name]; s != nil {
			shape = s
		}
		if !slices.Contains(e.drop, w.Name) {
			b.Add(w.Name, shape, w.Type, w.Data)
		}
	}
	for name, shape := range e.add {
		n := 4
		for _, d := range shape {
			n *= d
		}
		b.Add(name, shape, gguf.F32, make([]byte, n))
	}
	return read(b)
}

func TestFromGGUF(t *testing.T) {
	tied := tiny.Config
	tied.Tied = true
	for name, want := range map[string]arch.Config{"llama": tiny.Config, "qwen2": tiny.Qwen2(), "tied": tied} {
		t.Run(name, func(t *testing.T) {
			got, err := arch.FromGGUF(edited(t, want, edit{}))
			require.NoError(t, err)
			_, want.Vocab = tiny.Builder(want, gguf.Q8_0)
			require.Equal(t, want, got)
			// Keys that repeat what follows from the others are no refusal.
			_, err = arch.FromGGUF(edited(t, want, edit{set: map[string]any{
				want.Family + ".rope.dimension_count": uint32(want.HeadDim), want.Family + ".attention.key_length": uint32(want.HeadDim),
				want.Family + ".attention.value_length": uint32(want.HeadDim), want.Family + ".vocab_size": uint32(want.Vocab),
				"general.quantization_version": uint32(2), "other.rope.scaling.type": "linear",
			}}))
			require.NoError(t, err)
		})
	}
}

func TestFromGGUFDefaults(t *testing.T) {
	c, err := arch.FromGGUF(edited(t, tiny.Config, edit{drop: []string{"llama.rope.freq_base", "general.type"}}))
	require.NoError(t, err)
	require.Equal(t, 10000.0, c.RopeBase)
	all := tiny.Config
	all.KVHeads = all.Heads
	c, err = arch.FromGGUF(edited(t, all, edit{drop: []string{"llama.attention.head_count_kv"}}))
	require.NoError(t, err)
	require.Equal(t, all.Heads, c.KVHeads)
}

// Whatever the forward pass would not compute is refused, and named.
func TestFromGGUFRefusesByName(t *testing.T) {
	set := func(key string, v any) edit { return edit{set: map[string]any{key: v}} }
	q := arch.SlotOf(1, arch.Q)
	for _, x := range []struct {
		c    arch.Config
		e    edit
		name string
	}{
		{tiny.Config, set("general.architecture", "mamba"), "general.architecture"},
		{tiny.Config, edit{drop: []string{"general.architecture"}}, "general.architecture"},
		{tiny.Config, set("general.architecture", "qwen2"), "qwen2.block_count"},
		{tiny.Config, set("general.type", "adapter"), "general.type"},
		{tiny.Config, set("llama.rope.scaling.type", "linear"), "llama.rope.scaling.type"},
		{tiny.Config, set("llama.rope.scaling.factor", float32(2)), "llama.rope.scaling.factor"},
		{tiny.Qwen2(), set("qwen2.attention.sliding_window", uint32(64)), "qwen2.attention.sliding_window"},
		{tiny.Config, set("llama.expert_count", uint32(8)), "llama.expert_count"},
		{tiny.Config, set("llama.attention.key_length", uint32(32)), "llama.attention.key_length"},
		{tiny.Config, set("llama.attention.value_length", uint32(8)), "llama.attention.value_length"},
		{tiny.Config, set("llama.rope.dimension_count", uint32(8)), "llama.rope.dimension_count"},
		{tiny.Config, set("llama.vocab_size", uint32(7)), "llama.vocab_size"},
		{tiny.Config, set("llama.logit_scale", float32(2)), "llama.logit_scale"},
		{tiny.Config, set("llama.block_count", uint32(0)), "llama.block_count"},
		{tiny.Config, set("llama.block_count", int32(-1)), "llama.block_count"},
		{tiny.Config, set("llama.block_count", uint32(1<<30)), "llama.block_count"},
		{tiny.Config, set("llama.block_count", "two"), "llama.block_count"},
		{tiny.Config, set("llama.block_count", uint32(3)), "blk.2.attn_k.weight"},
		{tiny.Config, set("llama.block_count", uint32(1)), "blk.1."},
		{tiny.Config, set("llama.context_length", uint64(1<<40)), "llama.context_length"},
		{tiny.Config, edit{drop: []string{"llama.context_length"}}, "llama.context_length"},
		{tiny.Config, edit{drop: []string{"llama.attention.layer_norm_rms_epsilon"}}, "llama.attention.layer_norm_rms_epsilon"},
		{tiny.Config, set("llama.attention.layer_norm_rms_epsilon", float32(0)), "epsilon"},
		{tiny.Config, set("llama.attention.layer_norm_rms_epsilon", float32(math.NaN())), "epsilon"},
		{tiny.Config, set("llama.rope.freq_base", float32(math.Inf(1))), "rope base"},
		{tiny.Config, set("llama.rope.freq_base", float32(-1)), "rope base"},
		{tiny.Config, set("llama.attention.head_count", uint32(3)), "llama.attention.head_count"},
		{tiny.Config, set("llama.attention.head_count", uint32(64)), "llama.attention.head_count"},
		{tiny.Config, set("llama.attention.head_count_kv", uint32(3)), "llama.attention.head_count"},
		{tiny.Config, set("llama.attention.head_count_kv", uint32(4)), "blk.0.attn_k.weight"},
		{tiny.Config, set("llama.embedding_length", uint32(128)), "token_embd.weight"},
		{tiny.Config, set("llama.feed_forward_length", uint32(64)), "blk.0.ffn_gate.weight"},
		{tiny.Config, edit{drop: []string{"token_embd.weight"}}, "token_embd.weight"},
		{tiny.Config, edit{drop: []string{"output_norm.weight"}}, "output_norm.weight"},
		{tiny.Config, edit{drop: []string{q.Tensor()}}, q.Tensor()},
		{tiny.Qwen2(), edit{drop: []string{q.BiasTensor()}}, q.BiasTensor()},
		{tiny.Config, edit{add: map[string][]int{q.BiasTensor(): {64}}}, q.BiasTensor()},
		{tiny.Config, edit{add: map[string][]int{"rope_freqs.weight": {8}}}, "rope_freqs.weight"},
		{tiny.Config, edit{add: map[string][]int{"output.weight": {64, 3}}, drop: []string{"output.weight"}}, "output.weight"},
		{tiny.Config, edit{shape: map[string][]int{"output_norm.weight": {64, 1}}}, "output_norm.weight"},
		{tiny.Config, edit{shape: map[string][]int{arch.SlotOf(0, arch.K).Tensor(): {32, 64}}}, "blk.0.attn_k.weight"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := arch.FromGGUF(edited(t, x.c, x.e))
			require.ErrorContains(t, err, x.name)
			require.NotEmpty(t, fault.Hint(err))
		})
	}
}

func TestSlots(t *testing.T) {
	c := tiny.Config
	seen := map[string]bool{}
	params := 0
	for s := range arch.Slot(c.Slots()) {
		require.Equal(t, s, arch.SlotOf(s.Layer(), s.Kind()))
		require.False(t, seen[s.Tensor()])
		seen[s.Tensor()] = true
		out, in := c.Shape(s.Kind())
		params += out + in
	}
	require.Equal(t, params, c.RankParams())
	require.Equal(t, "blk.1.attn_output.weight", arch.SlotOf(1, arch.O).Tensor())
	require.Equal(t, "self_attn.o_proj", arch.O.PEFT())
	require.Equal(t, "blk.2.ffn_norm.weight", arch.NormTensor(2, "ffn_norm"))
}

// One rank over all linear layers of the 135M model is 305,280 parameters.
func TestRealShape(t *testing.T) {
	f, err := gguf.Open(testmodel.Path(t))
	require.NoError(t, err)
	defer f.Close()
	c, err := arch.FromGGUF(f)
	require.NoError(t, err)
	require.Equal(t, arch.Config{Family: "llama", Layers: 30, Dim: 576, Heads: 9, KVHeads: 3, HeadDim: 64, FF: 1536,
		Vocab: 49152, Context: c.Context, RopeBase: 100000, Eps: c.Eps, Tied: true}, c)
	require.Equal(t, 8192, c.Context)
	require.InDelta(t, 1e-5, c.Eps, 1e-9)
	require.Equal(t, 305280, c.RankParams())
}
