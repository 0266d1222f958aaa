// Package arch names the shape of a decoder-only transformer of the llama and
// qwen2 families, and the places in it where an adapter can sit.
package arch

import "fmt"

// Config is the shape of one model. Sizes are counts of float values unless
// a unit is given.
type Config struct {
	Family     string  // "llama" or "qwen2"
	Layers     int     // transformer blocks
	Dim        int     // residual width
	Heads      int     // query heads
	KVHeads    int     // key and value heads; Heads is a multiple of it
	HeadDim    int     // width of a head
	FF         int     // width of the feed-forward layer
	Vocab      int     // rows of the embedding
	Context    int     // trained context length in tokens
	RopeBase   float64 // base of the rotary frequencies
	RopeHalves bool    // rotary pairs are (i, i+HeadDim/2) (qwen2) rather than (2i, 2i+1) (GGUF llama)
	Eps        float32 // epsilon of RMSNorm
	Tied       bool    // the output head is the embedding
	QKVBias    bool    // q, k and v have a bias
}

// Kind is one of the seven linear layers of a block.
type Kind int

// The linear layers, in the order of the forward pass.
const (
	Q Kind = iota
	K
	V
	O
	Gate
	Up
	Down
	Kinds // how many there are
)

var ggufNames = [Kinds]string{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}
var peftNames = [Kinds]string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}

// String is the GGUF name, such as "attn_q".
func (k Kind) String() string { return ggufNames[k] }

// PEFT is the Hugging Face module path within a layer, such as "self_attn.q_proj".
func (k Kind) PEFT() string { return peftNames[k] }

// Slot numbers the linear layers of a model: layer*Kinds + kind.
type Slot int

// SlotOf is the slot of a kind in a layer.
func SlotOf(layer int, k Kind) Slot { return Slot(layer*int(Kinds) + int(k)) }

// Layer is the block the slot is in.
func (s Slot) Layer() int { return int(s) / int(Kinds) }

// Kind is which linear of the block it is.
func (s Slot) Kind() Kind { return Kind(int(s) % int(Kinds)) }

// Tensor is the slot's GGUF weight name, such as "blk.3.attn_q.weight".
func (s Slot) Tensor() string { return fmt.Sprintf("blk.%d.%s.weight", s.Layer(), s.Kind()) }

// BiasTensor is the slot's GGUF bias name, such as "blk.3.attn_q.bias".
func (s Slot) BiasTensor() string { return fmt.Sprintf("blk.%d.%s.bias", s.Layer(), s.Kind()) }

// NormTensor is the GGUF name of a layer's norm, such as "blk.3.attn_norm.weight".
func NormTensor(layer int, norm string) string { return fmt.Sprintf("blk.%d.%s.weight", layer, norm) }

// Slots is how many linear layers the model has.
func (c Config) Slots() int { return c.Layers * int(Kinds) }

// Shape is the size of a kind's weight: y (out) = W (out x in) x (in).
func (c Config) Shape(k Kind) (out, in int) {
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	switch k {
	case Q:
		return q, c.Dim
	case K, V:
		return kv, c.Dim
	case O:
		return c.Dim, q
	case Gate, Up:
		return c.FF, c.Dim
	default:
		return c.Dim, c.FF
	}
}

// RankParams is the number of parameters one rank over all slots has.
func (c Config) RankParams() int {
	n := 0
	for k := Kind(0); k < Kinds; k++ {
		out, in := c.Shape(k)
		n += out + in
	}
	return n * c.Layers
}
