// Package tiny makes a random model of a few thousand parameters with a pool
// that fits it, so that whole-program tests need no download. Its answers mean
// nothing; everything about how they come is as with a real model.
//
// It stands apart from testmodel because the packages it builds on use that one
// in their own tests.
package tiny

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/chat"
	"crayon/internal/gguf"
	"crayon/internal/pool"
)

// Config is the shape of the tiny model.
var Config = arch.Config{
	Family: "llama", Layers: 2, Dim: 64, Heads: 4, KVHeads: 2, HeadDim: 16, FF: 96,
	Context: 2048, RopeBase: 10000, Eps: 1e-5,
}

// Name is the base model's name in the tiny pool.
const Name = "tiny-random"

// Blended are the names of the pool's blended adapters; "shared" is the other.
var Blended = []string{"red", "green", "blue"}

// Tiny writes the model (GGUF, Q8_0, ChatML specials, byte-level BPE) and its
// pool (three blended adapters of rank 2, one shared of rank 2, none of them
// zero) to a folder that lasts as long as the test. Equal on every call.
func Tiny(t testing.TB) (modelPath, poolPath string) {
	t.Helper()
	dir := t.TempDir()
	modelPath, poolPath = filepath.Join(dir, "tiny.gguf"), filepath.Join(dir, "tiny.crayon")
	if err := Write(modelPath, poolPath); err != nil {
		t.Fatal(err)
	}
	return modelPath, poolPath
}

// Model writes a tiny model of another shape, its linear layers and embedding
// stored as kind, and returns its path. c's Vocab is what the tokenizer gives.
func Model(t testing.TB, c arch.Config, kind gguf.Type) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.gguf")
	b, _ := Builder(c, kind)
	if err := b.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// Builder is Model before it is written, and the size of its vocabulary: for
// tests that add to it or spoil it.
func Builder(c arch.Config, kind gguf.Type) (*gguf.Builder, int) {
	return model(rand.New(rand.NewPCG(7, 11)), c, kind)
}

// Qwen2 is Config as the qwen2 family has it: biases on q, k and v, and rotary
// halves.
func Qwen2() arch.Config {
	c := Config
	c.Family, c.RopeHalves, c.QKVBias = "qwen2", true, true
	return c
}

// Write writes the tiny model and its pool to the paths given.
func Write(modelPath, poolPath string) error {
	rng := rand.New(rand.NewPCG(7, 11))
	b, vocab := model(rng, Config, gguf.Q8_0)
	if err := b.WriteFile(modelPath); err != nil {
		return err
	}
	p, err := newPool(rng, modelPath, vocab)
	if err != nil {
		return err
	}
	_, err = p.Write(poolPath, gguf.Q8_0)
	return err
}

// model is the GGUF file and the size of its vocabulary.
func model(rng *rand.Rand, c arch.Config, kind gguf.Type) (*gguf.Builder, int) {
	tokens, types, merges := vocabulary()
	b := gguf.NewBuilder()
	b.Set("general.architecture", c.Family)
	b.Set("general.type", "model")
	b.Set("general.name", Name)
	b.Set(c.Family+".block_count", uint32(c.Layers))
	b.Set(c.Family+".context_length", uint32(c.Context))
	b.Set(c.Family+".embedding_length", uint32(c.Dim))
	b.Set(c.Family+".feed_forward_length", uint32(c.FF))
	b.Set(c.Family+".attention.head_count", uint32(c.Heads))
	b.Set(c.Family+".attention.head_count_kv", uint32(c.KVHeads))
	b.Set(c.Family+".attention.layer_norm_rms_epsilon", c.Eps)
	b.Set(c.Family+".rope.freq_base", float32(c.RopeBase))
	b.Set("tokenizer.ggml.model", "gpt2")
	b.Set("tokenizer.ggml.pre", map[string]string{"llama": "smollm", "qwen2": "qwen2"}[c.Family])
	b.Set("tokenizer.ggml.tokens", tokens)
	b.Set("tokenizer.ggml.token_type", types)
	b.Set("tokenizer.ggml.merges", merges)
	b.Set("tokenizer.ggml.bos_token_id", uint32(1))
	b.Set("tokenizer.ggml.eos_token_id", uint32(2))
	b.Set("tokenizer.ggml.add_bos_token", false)
	b.Set("tokenizer.chat_template", chat.ChatML)
	add := func(name string, kind gguf.Type, values []float32, shape ...int) {
		data, err := gguf.Quantize(kind, values)
		if err != nil {
			panic(fmt.Sprintf("tiny model, %s: %v", name, err)) // the shapes above are wrong
		}
		b.Add(name, shape, kind, data)
	}
	norm := func(name string) {
		v := make([]float32, c.Dim)
		for i := range v {
			v[i] = 1 + 0.1*float32(rng.NormFloat64())
		}
		add(name, gguf.F32, v, c.Dim)
	}
	// Wide embeddings keep the logits apart, so that greedy answers do not hang
	// on the last bit of a kernel's sums.
	add("token_embd.weight", kind, normal(rng, len(tokens)*c.Dim, 1), c.Dim, len(tokens))
	norm("output_norm.weight")
	if !c.Tied {
		add("output.weight", kind, normal(rng, len(tokens)*c.Dim, 1), c.Dim, len(tokens))
	}
	for l := range c.Layers {
		norm(arch.NormTensor(l, "attn_norm"))
		norm(arch.NormTensor(l, "ffn_norm"))
		for k := arch.Kind(0); k < arch.Kinds; k++ {
			out, in := c.Shape(k)
			add(arch.SlotOf(l, k).Tensor(), kind, normal(rng, out*in, 1/math.Sqrt(float64(in))), in, out)
			if c.QKVBias && k <= arch.V {
				add(arch.SlotOf(l, k).BiasTensor(), gguf.F32, normal(rng, out, 0.5), out)
			}
		}
	}
	return b, len(tokens)
}

// newPool is a pool of random adapters and indicators for the model at path.
func newPool(rng *rand.Rand, path string, vocab int) (*pool.Pool, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lineage, err := gguf.Fingerprint(f)
	if err != nil {
		return nil, err
	}
	digest, err := gguf.Digest(path)
	if err != nil {
		return nil, err
	}
	c := Config
	c.Vocab = vocab
	p := &pool.Pool{
		Name:    "tiny-pool",
		Base:    pool.Base{Name: Name, Digest: digest, Lineage: lineage, Shape: c},
		Feature: pool.Feature{Name: "q1", Text: "question", MaxTokens: 256, Tau: 0.1, Mean: make([]float32, c.Dim)},
		Prompt:  pool.Prompt{Template: chat.ChatML},
		Keep:    2,
		Made: pool.Provenance{
			Created: "2026-01-02T03:04:05Z", Recipe: "name: tiny\nrows: {exclude: {families: [yes-no]}}\n", Seed: 7, Data: []string{"none"}, Licences: []string{"none"},
			Licence: "CC0-1.0", Workers: 1,
		},
	}
	const rank = 2
	var all []*adapter.Adapter
	for i, name := range append(append([]string{}, Blended...), "shared") {
		m := pool.Member{Name: name, Rank: rank, Shared: i == len(Blended)}
		if !m.Shared {
			m.Indicator, m.Examples, m.Covers = unit(normal(rng, c.Dim, 1)), 10*(i+1), []string{name + "-questions"}
		}
		p.Members = append(p.Members, m)
		a := &adapter.Adapter{Name: name, Scale: 1, Pairs: map[arch.Slot]*adapter.Pair{}}
		for s := range arch.Slot(c.Slots()) {
			out, in := c.Shape(s.Kind())
			a.Pairs[s] = &adapter.Pair{Rank: rank, In: in, Out: out,
				A: normal(rng, rank*in, 1/math.Sqrt(float64(in))), B: normal(rng, out*rank, 0.5)}
		}
		all = append(all, a)
	}
	p.Stack, err = adapter.NewStack(all)
	return p, err
}

func normal(rng *rand.Rand, n int, sigma float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(sigma * rng.NormFloat64())
	}
	return v
}

func unit(v []float32) []float32 {
	var s float64
	for _, x := range v {
		s += float64(x) * float64(x)
	}
	for i := range v {
		v[i] = float32(float64(v[i]) / math.Sqrt(s))
	}
	return v
}

// GGUF token types.
const (
	ordinary = 1
	control  = 3
)

// vocabulary is ChatML's specials, the 256 bytes in GPT-2's alphabet, and a few
// merges of common English pairs.
func vocabulary() (tokens []string, types []int32, merges []string) {
	for _, s := range []string{"<|endoftext|>", "<|im_start|>", "<|im_end|>"} {
		tokens, types = append(tokens, s), append(types, control)
	}
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if !(r >= '!' && r <= '~' || r >= 0xA1 && r <= 0xAC || r >= 0xAE) {
			r, next = next, next+1
		}
		tokens, types = append(tokens, string(r)), append(types, ordinary)
	}
	// In the alphabet Ġ is the space.
	for _, m := range [][2]string{
		{"Ġ", "t"}, {"h", "e"}, {"Ġ", "a"}, {"i", "n"}, {"r", "e"}, {"o", "n"}, {"Ġt", "he"}, {"e", "r"},
		{"Ġ", "s"}, {"a", "t"}, {"Ġ", "w"}, {"Ġ", "o"}, {"e", "n"}, {"Ġ", "c"}, {"i", "s"}, {"o", "u"},
	} {
		tokens, types = append(tokens, m[0]+m[1]), append(types, ordinary)
		merges = append(merges, m[0]+" "+m[1])
	}
	return tokens, types, merges
}
