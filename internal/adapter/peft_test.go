package adapter

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/safetensors"
)

func halves(c arch.Config) arch.Config {
	c.Family, c.RopeHalves = "qwen2", true
	return c
}

// Row (head, half, i) of Hugging Face is row (head, i, half) of GGUF, for the
// rows of B of q and k of the llama family and nothing else.
func TestPermutationMovesTheRowsItShould(t *testing.T) {
	for _, c := range []arch.Config{tiny, halves(tiny)} {
		for k := range arch.Kinds {
			out, _ := c.Shape(k)
			hf := make([]float32, out*2)
			for r := range out {
				hf[2*r], hf[2*r+1] = float32(r), float32(-r)
			}
			got := fromHF(hf, 2, k, c)
			for r := range out {
				from := r
				if c.Family == "llama" && (k == arch.Q || k == arch.K) {
					head, i, half := r/8, r%8/2, r%2
					from = head*8 + half*4 + i
				}
				require.Equal(t, []float32{float32(from), float32(-from)}, got[2*r:2*r+2], "%s %v row %d", c.Family, k, r)
			}
			require.Equal(t, hf, toHF(got, 2, k, c))
			require.Equal(t, hf, fromHF(toHF(hf, 2, k, c), 2, k, c))
		}
	}
}

func requireSameProducts(t require.TestingT, want, got *Adapter, c arch.Config, limit float64) {
	for slot := range arch.Slot(c.Slots()) {
		w := sum([]*Adapter{want}, []float32{1}, slot, c)
		g := got.Dense(slot)
		if want.Pairs[slot] == nil {
			require.Nil(t, g)
			continue
		}
		require.LessOrEqual(t, apart(w, g), limit, slot.Tensor())
	}
}

func TestRoundTrips(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		c := tiny
		if rapid.Bool().Draw(t, "halves") {
			c = halves(c)
		}
		a := draw(t, c, "mine")
		a.Base = rapid.SampledFrom([]string{"", "org/base"}).Draw(t, "base")

		folder, path := filepath.Join(dir, "peft"), filepath.Join(dir, "mine.gguf")
		switch rapid.IntRange(0, 2).Draw(t, "form") {
		case 0:
			require.NoError(t, WritePEFT(folder, a, c, "org/model"))
			back, err := ReadPEFT(folder, c)
			require.NoError(t, err)
			require.Equal(t, "peft", back.Name)
			require.Equal(t, "org/model", back.Base)
			requireSameProducts(t, a, back, c, 1e-6)
		case 1:
			require.NoError(t, WriteGGUF(path, a, c))
			back, err := ReadGGUF(path, c)
			require.NoError(t, err)
			require.Equal(t, "mine", back.Name)
			require.Equal(t, a.Base, back.Base)
			requireSameProducts(t, a, back, c, 1e-6)
		case 2:
			require.NoError(t, WriteGGUFAs(path, a, c, gguf.F16))
			back, err := ReadGGUF(path, c)
			require.NoError(t, err)
			require.Less(t, Residual(a, back), 2e-3)
		}
	})
}

// wide has layers that Q8_0 blocks fit.
var wide = arch.Config{Family: "llama", Layers: 1, Dim: 64, Heads: 2, KVHeads: 1, HeadDim: 32, FF: 96}

func whole(c arch.Config, rank int, scale float32) *Adapter {
	a := &Adapter{Name: "whole", Scale: scale, Pairs: map[arch.Slot]*Pair{}}
	for slot := range arch.Slot(c.Slots()) {
		out, in := c.Shape(slot.Kind())
		a.Pairs[slot] = &Pair{Rank: rank, In: in, Out: out, A: fill(rank*in, float32(slot)), B: fill(out*rank, -float32(slot))}
	}
	return a
}

// The file llama.cpp reads: names, dimensions (ne order), and a factor of 1.
func TestGGUFLayout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.gguf")
	for _, rank := range []int{4, 32} {
		a := whole(wide, rank, 3)
		require.NoError(t, WriteGGUFAs(path, a, wide, gguf.Q8_0))
		f, err := gguf.Open(path)
		require.NoError(t, err)
		for key, want := range map[string]any{"general.type": "adapter", "adapter.type": "lora", "general.architecture": "llama", "adapter.lora.alpha": float32(rank)} {
			got, _ := f.Value(key)
			require.Equal(t, want, got, key)
		}
		require.Len(t, f.Tensors(), 14)
		down, up := f.Tensor("blk.0.ffn_down.weight.lora_a"), f.Tensor("blk.0.ffn_down.weight.lora_b")
		require.Equal(t, []int{96, rank}, down.Shape)
		require.Equal(t, []int{rank, 64}, up.Shape)
		require.Equal(t, gguf.Q8_0, down.Type)
		require.Equal(t, map[int]gguf.Type{4: gguf.F16, 32: gguf.Q8_0}[rank], up.Type)
		require.NoError(t, f.Close())
		back, err := ReadGGUF(path, wide)
		require.NoError(t, err)
		require.Less(t, Residual(a, back), 0.02)
	}
}

// alpha/rank is llama.cpp's factor; no alpha, or 0, means 1.
func TestGGUFAlpha(t *testing.T) {
	for alpha, want := range map[float32]float32{0: 1, 8: 2, 1: 0.25, -4: -1} {
		a := whole(wide, 4, 1)
		b := gguf.NewBuilder()
		b.Set("general.architecture", "llama")
		b.Set("general.type", "adapter")
		b.Set("adapter.type", "lora")
		if alpha != 0 {
			b.Set("adapter.lora.alpha", alpha)
		}
		for slot, p := range a.Pairs {
			x, err := gguf.Quantize(gguf.F32, p.A)
			require.NoError(t, err)
			y, err := gguf.Quantize(gguf.F32, p.B)
			require.NoError(t, err)
			b.Add(slot.Tensor()+".lora_b", []int{4, p.Out}, gguf.F32, y)
			b.Add(slot.Tensor()+".lora_a", []int{p.In, 4}, gguf.F32, x)
		}
		path := filepath.Join(t.TempDir(), "a.gguf")
		require.NoError(t, b.WriteFile(path))
		back, err := ReadGGUF(path, wide)
		require.NoError(t, err)
		a.Scale = want
		requireSameProducts(t, a, back, wide, 1e-6)
	}
}

func TestReadGGUFRefuses(t *testing.T) {
	cell := make([]byte, 4)
	for name, c := range map[string]struct {
		change func(b *gguf.Builder)
		want   string
	}{
		"model":         {func(b *gguf.Builder) { b.Set("general.type", "model") }, "is this a model?"},
		"kind":          {func(b *gguf.Builder) { b.Set("adapter.type", "loha") }, `adapter.type "loha" is not supported`},
		"family":        {func(b *gguf.Builder) { b.Set("general.architecture", "qwen2") }, `architecture "qwen2"`},
		"alora":         {func(b *gguf.Builder) { b.Set("adapter.alora.invocation_tokens", []uint32{1}) }, "activated LoRA"},
		"alpha":         {func(b *gguf.Builder) { b.Set("adapter.lora.alpha", float32(math.NaN())) }, "alpha is NaN"},
		"embedding":     {func(b *gguf.Builder) { b.Add("token_embd.weight.lora_a", []int{1, 1}, gguf.F32, cell) }, `"token_embd.weight.lora_a": the model has no such linear`},
		"norm":          {func(b *gguf.Builder) { b.Add("blk.0.attn_norm.weight", []int{1}, gguf.F32, cell) }, "not part of a LoRA pair"},
		"beyond layers": {func(b *gguf.Builder) { b.Add("blk.9.attn_q.weight.lora_a", []int{1, 1}, gguf.F32, cell) }, "blk.9.attn_q.weight.lora_a"},
		"no matrix":     {func(b *gguf.Builder) { b.Add("blk.0.attn_q.weight.lora_a", []int{1}, gguf.F32, cell) }, "not a matrix"},
		"half a pair":   {func(b *gguf.Builder) { b.Add("blk.0.attn_q.weight.lora_a", []int{1, 1}, gguf.F32, cell) }, "an A but no B"},
		"other half":    {func(b *gguf.Builder) { b.Add("blk.0.attn_q.weight.lora_b", []int{1, 1}, gguf.F32, cell) }, "a B but no A"},
		"ranks": {func(b *gguf.Builder) {
			b.Add("blk.0.attn_q.weight.lora_a", []int{1, 1}, gguf.F32, cell)
			b.Add("blk.0.attn_q.weight.lora_b", []int{2, 1}, gguf.F32, make([]byte, 8))
		}, "their ranks differ"},
		"size and zero": {func(b *gguf.Builder) {
			b.Add("blk.0.attn_q.weight.lora_a", []int{1, 1}, gguf.F32, cell)
			b.Add("blk.0.attn_q.weight.lora_b", []int{1, 1}, gguf.F32, cell)
		}, "it is for a layer of 1 x 1"},
		"nothing": {func(b *gguf.Builder) {}, "it changes no layer"},
	} {
		t.Run(name, func(t *testing.T) {
			b := gguf.NewBuilder()
			b.Set("general.architecture", "llama")
			b.Set("general.type", "adapter")
			b.Set("adapter.type", "lora")
			c.change(b)
			path := filepath.Join(t.TempDir(), "a.gguf")
			require.NoError(t, b.WriteFile(path))
			_, err := ReadGGUF(path, wide)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, path)
		})
	}
	require.ErrorContains(t, WriteGGUFAs("x", whole(wide, 1, 1), wide, gguf.Q4_0), "not Q4_0")
	require.ErrorContains(t, WriteGGUF("x", &Adapter{Scale: 1}, wide), "changes no layer")
	require.NoFileExists(t, "x")
}

// folder writes a PEFT folder by hand.
func folder(t *testing.T, config map[string]any, tensors ...*safetensors.Tensor) string {
	dir := t.TempDir()
	text, err := json.Marshal(config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, configFile), text, 0o600))
	require.NoError(t, (&safetensors.File{Tensors: tensors}).WriteFile(filepath.Join(dir, weightsFile)))
	return dir
}

func tensor(t *testing.T, name string, rows, cols int) *safetensors.Tensor {
	x, err := safetensors.New(name, []int{rows, cols}, safetensors.F32, fill(rows*cols, float32(rows)))
	require.NoError(t, err)
	return x
}

// pairOf is the two tensors of a module of wide with the given rank.
func pairOf(t *testing.T, prefix string, k arch.Kind, rank int) []*safetensors.Tensor {
	out, in := wide.Shape(k)
	name := prefix + "layers.0." + k.PEFT()
	return []*safetensors.Tensor{tensor(t, name+".lora_A.weight", rank, in), tensor(t, name+".lora_B.weight", out, rank)}
}

const modelPrefix = "base_model.model.model."

func TestPEFTScales(t *testing.T) {
	base := func(more map[string]any) map[string]any {
		c := map[string]any{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "init_lora_weights": true, "lora_dropout": 0.1}
		for k, v := range more {
			c[k] = v
		}
		return c
	}
	for name, c := range map[string]struct {
		config       map[string]any
		rank         int
		prefix       string
		wantV, wantO float64 // scales of v_proj and o_proj
	}{
		"alpha over r":          {base(nil), 4, modelPrefix, 2, 2},
		"rslora":                {base(map[string]any{"use_rslora": true}), 4, modelPrefix, 4, 4},
		"rank pattern":          {base(map[string]any{"rank_pattern": map[string]int{"v_proj": 2, "o_proj": 2}}), 2, modelPrefix, 4, 4},
		"alpha pattern":         {base(map[string]any{"alpha_pattern": map[string]float64{"v_proj": 1}}), 4, modelPrefix, 0.25, 2},
		"whole path":            {base(map[string]any{"alpha_pattern": map[string]int{"model.layers.0.self_attn.o_proj": 16}}), 4, modelPrefix, 2, 4},
		"expression":            {base(map[string]any{"alpha_pattern": map[string]int{`layers\.[0-3]\.self_attn\.[vo]_proj`: 12}}), 4, modelPrefix, 3, 3},
		"anchored":              {base(map[string]any{"alpha_pattern": map[string]int{`^model.layers.0.self_attn.v_proj`: 12}}), 4, modelPrefix, 3, 2},
		"another layer":         {base(map[string]any{"alpha_pattern": map[string]int{"layers.1.self_attn.v_proj": 16}}), 4, modelPrefix, 2, 2},
		"part of a name":        {base(map[string]any{"alpha_pattern": map[string]int{"proj": 16}}), 4, modelPrefix, 2, 2},
		"both, rslora":          {base(map[string]any{"use_rslora": true, "rank_pattern": map[string]int{".*": 9}, "alpha_pattern": map[string]int{"v_proj": 6}}), 9, modelPrefix, 2, 8.0 / 3},
		"model without head":    {base(map[string]any{"alpha_pattern": map[string]int{"layers.0.self_attn.v_proj": 16}}), 4, "base_model.model.", 4, 2},
		"unknown but off":       {base(map[string]any{"use_new_thing": false, "other": nil, "more": []int{}}), 4, modelPrefix, 2, 2},
		"gaussian initial":      {base(map[string]any{"init_lora_weights": "gaussian"}), 4, modelPrefix, 2, 2},
		"the first that fits":   {nil, 4, modelPrefix, 1, 3},
		"lower case, old peft":  {map[string]any{"peft_type": "lora", "r": 4, "lora_alpha": 2.0}, 4, modelPrefix, 0.5, 0.5},
		"everything at its off": {base(map[string]any{"use_dora": false, "modules_to_save": nil, "fan_in_fan_out": false, "lora_bias": false, "layer_replication": nil, "rank_pattern": nil}), 4, modelPrefix, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			tensors := append(pairOf(t, c.prefix, arch.V, c.rank), pairOf(t, c.prefix, arch.O, c.rank)...)
			dir := folder(t, c.config, tensors...)
			if c.config == nil { // an order that a map would not keep
				text := `{"peft_type":"LORA","r":4,"lora_alpha":8,"alpha_pattern":{"v_proj":4,"[vo]_proj":12,"o_proj":40}}`
				require.NoError(t, os.WriteFile(filepath.Join(dir, configFile), []byte(text), 0o600))
			}
			a, err := ReadPEFT(dir, wide)
			require.NoError(t, err)
			require.Equal(t, float32(1), a.Scale)
			for kind, want := range map[arch.Kind]float64{arch.V: c.wantV, arch.O: c.wantO} {
				p := a.Pairs[arch.SlotOf(0, kind)]
				b := fill(p.Out*p.Rank, float32(p.Out))
				for i, v := range b {
					require.InEpsilon(t, want*float64(v), p.B[i], 1e-6, kind)
				}
			}
		})
	}
}

func TestReadPEFTRefuses(t *testing.T) {
	good := func() map[string]any { return map[string]any{"peft_type": "LORA", "r": 4, "lora_alpha": 8} }
	with := func(key string, v any) map[string]any {
		c := good()
		c[key] = v
		return c
	}
	v := func(t *testing.T) []*safetensors.Tensor { return pairOf(t, modelPrefix, arch.V, 4) }
	extra := func(name string) func(t *testing.T) []*safetensors.Tensor {
		return func(t *testing.T) []*safetensors.Tensor { return append(v(t), tensor(t, name, 4, 4)) }
	}
	for name, c := range map[string]struct {
		config  map[string]any
		tensors func(t *testing.T) []*safetensors.Tensor
		want    string
	}{
		"dora":            {with("use_dora", true), v, "DoRA (use_dora) is not supported"},
		"saved modules":   {with("modules_to_save", []string{"lm_head"}), v, "modules_to_save"},
		"bias":            {with("bias", "all"), v, `trained biases (bias "all")`},
		"lora bias":       {with("lora_bias", true), v, "lora_bias"},
		"other kind":      {with("peft_type", "IA3"), v, `peft_type is "IA3"`},
		"pissa":           {with("init_lora_weights", "pissa_niter_4"), v, "changes the base model's weights"},
		"transposed":      {with("fan_in_fan_out", true), v, "fan_in_fan_out"},
		"replicated":      {with("layer_replication", [][]int{{0, 2}}), v, "layer_replication"},
		"unknown setting": {with("use_future", true), v, `"use_future" is not known`},
		"no rank":         {with("r", 0), v, "r is 0"},
		"no alpha":        {with("lora_alpha", 0), v, "lora_alpha is 0"},
		"text for a rank": {with("r", "four"), v, "r: json"},
		"look-ahead":      {with("alpha_pattern", map[string]int{"(?=x)": 1}), v, `pattern "(?=x)" cannot be read`},
		"pattern a list":  {with("rank_pattern", []int{1}), v, "not an object of numbers"},
		"alpha pattern 0": {with("alpha_pattern", map[string]int{"v_proj": 0}), v, "give a scale of 0"},
		"rank differs":    {with("r", 8), v, "its rank is 4, adapter_config.json says 8"},
		"magnitude":       {good(), extra(modelPrefix + "layers.0.self_attn.v_proj.lora_magnitude_vector.weight"), "DoRA is not supported"},
		"embedding":       {good(), extra(modelPrefix + "embed_tokens.lora_embedding_A"), "adapted embeddings"},
		"head":            {good(), extra("base_model.model.lm_head.lora_A.weight"), "no such linear layer"},
		"layer 7":         {good(), extra(modelPrefix + "layers.7.self_attn.v_proj.lora_A.weight"), "layers.7.self_attn.v_proj.lora_A.weight"},
		"whole weight":    {good(), extra(modelPrefix + "layers.0.self_attn.v_proj.weight"), "not part of a LoRA pair"},
		"bias on B":       {good(), extra(modelPrefix + "layers.0.self_attn.v_proj.lora_B.bias"), "lora_bias"},
		"lone A":          {good(), extra(modelPrefix + "layers.0.self_attn.o_proj.lora_A.weight"), "model.layers.0.self_attn.o_proj: it has an A but no B"},
		"matrix twice":    {good(), extra(modelPrefix + "layers.0.self_attn.v_proj.lora_A.default.weight"), "has this matrix already"},
		"nothing":         {good(), func(*testing.T) []*safetensors.Tensor { return nil }, "it changes no layer"},
		"untrained": {good(), func(t *testing.T) []*safetensors.Tensor {
			pair := v(t)
			clear(pair[1].Data)
			return pair
		}, "blk.0.attn_v.weight: B is all zero"},
		"nan": {good(), func(t *testing.T) []*safetensors.Tensor {
			pair := v(t)
			copy(pair[0].Data, []byte{0, 0, 0xc0, 0x7f})
			return pair
		}, "blk.0.attn_v.weight: A holds NaN at 0"},
		"another model": {good(), func(t *testing.T) []*safetensors.Tensor {
			name := modelPrefix + "layers.0.self_attn.q_proj"
			return []*safetensors.Tensor{tensor(t, name+".lora_A.weight", 4, 128), tensor(t, name+".lora_B.weight", 128, 4)}
		}, "it is for a layer of 128 x 128, the model's is 64 x 64"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, c.config, c.tensors(t)...)
			_, err := ReadPEFT(dir, wide)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, dir)
		})
	}
}

func TestReadPEFTBadFolders(t *testing.T) {
	dir := folder(t, map[string]any{"peft_type": "LORA", "r": 4, "lora_alpha": 8}, pairOf(t, modelPrefix, arch.V, 4)...)
	weights := filepath.Join(dir, weightsFile)
	data, err := os.ReadFile(weights)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(weights, data[:len(data)-1], 0o600))
	_, err = ReadPEFT(dir, wide)
	require.ErrorContains(t, err, weights)

	require.NoError(t, os.Remove(weights))
	require.NoError(t, os.WriteFile(filepath.Join(dir, pickleFile), []byte("PK"), 0o600))
	_, err = ReadPEFT(dir, wide)
	require.ErrorContains(t, err, pickleFile)
	require.Contains(t, fault.Hint(err), "safe_serialization=True")

	require.NoError(t, os.WriteFile(filepath.Join(dir, configFile), make([]byte, maxConfig+1), 0o600))
	_, err = ReadPEFT(dir, wide)
	require.ErrorContains(t, err, "longer than")
	_, err = ReadPEFT(t.TempDir(), wide)
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestWritePEFTNamesOnlyWhatItHas(t *testing.T) {
	a := whole(tiny, 3, 2)
	delete(a.Pairs, arch.SlotOf(1, arch.Down))
	dir := filepath.Join(t.TempDir(), "new", "folder")
	require.NoError(t, WritePEFT(dir, a, tiny, "org/model"))
	text, err := os.ReadFile(filepath.Join(dir, configFile))
	require.NoError(t, err)
	var config map[string]any
	require.NoError(t, json.Unmarshal(text, &config))
	require.Equal(t, []any{"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "model.layers.0.mlp.down_proj"}, config["target_modules"])
	require.Equal(t, 3.0, config["r"])
	require.Equal(t, 3.0, config["lora_alpha"])
	require.ErrorContains(t, WritePEFT(dir, &Adapter{Scale: 1}, tiny, ""), "changes no layer")
	require.FileExists(t, filepath.Join(dir, configFile), "a refused export removed the folder's config")
}

// FuzzConfig: no text may panic, and a scale that is given is a number.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"peft_type":"LORA","r":4,"lora_alpha":8,"rank_pattern":{"v_proj":2},"alpha_pattern":{"o_proj":1.5},"use_rslora":true}`))
	f.Add([]byte(`{"peft_type":"LORA","r":-1,"lora_alpha":1e308,"use_dora":true,"modules_to_save":["a"],"x":{"y":[1,null]}}`))
	f.Add([]byte(`{"rank_pattern":{"(":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err != nil {
			return
		}
		for _, rank := range []int{0, 1, 4} {
			if s, err := c.scale("model.layers.0.self_attn.v_proj", rank); err == nil && (s == 0 || s-s != 0) {
				t.Fatalf("scale %v", s)
			}
		}
	})
}
