package arch

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/gguf"
)

// Bounds on a file's own claims, well above any model this engine is for, so
// that sizes computed from them cannot overflow or ask for absurd memory.
const (
	maxLayers  = 512
	maxDim     = 1 << 16
	maxHeads   = 1 << 10
	maxFF      = 1 << 20
	maxVocab   = 1 << 21
	maxContext = 1 << 24
)

// FromGGUF reads the shape of a llama- or qwen2-family model. Whatever the
// forward pass does not compute (another family, rope scaling, sliding windows,
// experts, unknown tensors) is refused by name: a model is run right or not at all.
func FromGGUF(f *gguf.File) (Config, error) {
	r := reader{f: f}
	c := Config{}
	c.Family, _ = f.String("general.architecture")
	switch c.Family {
	case "llama":
	case "qwen2":
		c.RopeHalves, c.QKVBias = true, true
	default:
		return c, r.fault("general.architecture", fmt.Errorf("family %q is not supported", c.Family))
	}
	if t, ok := f.String("general.type"); ok && t != "model" {
		return c, r.fault("general.type", fmt.Errorf("is %q, not a model", t))
	}
	r.prefix = c.Family + "."
	c.Layers = r.size("block_count", maxLayers)
	c.Context = r.size("context_length", maxContext)
	c.Dim = r.size("embedding_length", maxDim)
	c.FF = r.size("feed_forward_length", maxFF)
	c.Heads = r.size("attention.head_count", maxHeads)
	c.KVHeads = c.Heads
	if r.has("attention.head_count_kv") {
		c.KVHeads = r.size("attention.head_count_kv", maxHeads)
	}
	c.Eps = float32(r.float("attention.layer_norm_rms_epsilon"))
	c.RopeBase = 10000
	if r.has("rope.freq_base") {
		c.RopeBase = r.float("rope.freq_base")
	}
	if r.err != nil {
		return c, r.err
	}
	if c.Dim%c.Heads != 0 || c.Heads%c.KVHeads != 0 {
		return c, r.fault(r.prefix+"attention.head_count", fmt.Errorf("%d heads and %d kv heads do not divide width %d", c.Heads, c.KVHeads, c.Dim))
	}
	c.HeadDim = c.Dim / c.Heads
	if c.HeadDim%2 != 0 {
		return c, r.fault(r.prefix+"attention.head_count", fmt.Errorf("odd head width %d cannot be rotated", c.HeadDim))
	}
	if !(c.Eps > 0 && c.Eps < 1) || !(c.RopeBase > 1) || math.IsInf(c.RopeBase, 0) {
		return c, r.fault(r.prefix+"rope.freq_base", fmt.Errorf("epsilon %g or rope base %g out of range", c.Eps, c.RopeBase))
	}
	// Keys that may only repeat what follows from the others.
	r.mustEqual("rope.dimension_count", c.HeadDim)
	r.mustEqual("attention.key_length", c.HeadDim)
	r.mustEqual("attention.value_length", c.HeadDim)

	emb := f.Tensor("token_embd.weight")
	if emb == nil || len(emb.Shape) != 2 || emb.Cols() != c.Dim || emb.Rows() > maxVocab {
		return c, r.fault("token_embd.weight", fmt.Errorf("missing, or not of width %d", c.Dim))
	}
	c.Vocab = emb.Rows()
	r.mustEqual("vocab_size", c.Vocab)
	c.Tied = f.Tensor("output.weight") == nil
	if err := r.unknownKeys(); err != nil {
		return c, err
	}
	return c, r.tensors(c)
}

type reader struct {
	f      *gguf.File
	prefix string
	used   []string
	err    error
}

func (r *reader) fault(at string, err error) error {
	return &fault.Error{Op: "read model", Path: r.f.Path() + ": " + at, Err: err,
		Hint: "crayon pull smollm2-135m", Exit: fault.ExitFailed}
}

func (r *reader) has(key string) bool {
	_, ok := r.f.Value(r.prefix + key)
	return ok
}

func (r *reader) size(key string, most int) int {
	r.used = append(r.used, key)
	v, ok := r.f.Uint(r.prefix + key)
	if (!ok || v == 0 || v > uint64(most)) && r.err == nil {
		r.err = r.fault(r.prefix+key, fmt.Errorf("missing or not in 1..%d", most))
	}
	return int(v)
}

func (r *reader) float(key string) float64 {
	r.used = append(r.used, key)
	v, ok := r.f.Float(r.prefix + key)
	if !ok && r.err == nil {
		r.err = r.fault(r.prefix+key, fmt.Errorf("missing"))
	}
	return v
}

func (r *reader) mustEqual(key string, want int) {
	r.used = append(r.used, key)
	if !r.has(key) || r.err != nil {
		return
	}
	if v, ok := r.f.Uint(r.prefix + key); !ok || v != uint64(want) {
		r.err = r.fault(r.prefix+key, fmt.Errorf("is not %d, which is all that is supported", want))
	}
}

// unknownKeys refuses keys of the family that nothing above has read.
func (r *reader) unknownKeys() error {
	if r.err != nil {
		return r.err
	}
	known := map[string]bool{}
	for _, k := range r.used {
		known[r.prefix+k] = true
	}
	for _, k := range r.f.Keys() {
		if strings.HasPrefix(k, r.prefix) && !known[k] {
			return r.fault(k, fmt.Errorf("this key changes the computation and is not supported"))
		}
	}
	return nil
}

// tensors checks that exactly the expected tensors are there, in their shapes.
func (r *reader) tensors(c Config) error {
	want := map[string][]int{
		"token_embd.weight":  {c.Dim, c.Vocab},
		"output_norm.weight": {c.Dim},
	}
	if !c.Tied {
		want["output.weight"] = []int{c.Dim, c.Vocab}
	}
	for l := 0; l < c.Layers; l++ {
		want[NormTensor(l, "attn_norm")] = []int{c.Dim}
		want[NormTensor(l, "ffn_norm")] = []int{c.Dim}
		for k := Kind(0); k < Kinds; k++ {
			out, in := c.Shape(k)
			s := SlotOf(l, k)
			want[s.Tensor()] = []int{in, out}
			if c.QKVBias && k <= V {
				want[s.BiasTensor()] = []int{out}
			}
		}
	}
	for _, t := range r.f.Tensors() {
		shape, ok := want[t.Name]
		if !ok {
			return r.fault(t.Name, fmt.Errorf("this tensor is not used by the %s forward pass", c.Family))
		}
		if !slices.Equal(shape, t.Shape) {
			return r.fault(t.Name, fmt.Errorf("shape %v, want %v", t.Shape, shape))
		}
		delete(want, t.Name)
	}
	if missing := slices.Sorted(maps.Keys(want)); len(missing) > 0 {
		return r.fault(missing[0], fmt.Errorf("tensor is missing, and %d others", len(missing)-1))
	}
	return nil
}
