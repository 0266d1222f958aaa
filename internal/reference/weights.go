// Package reference is the float32 forward pass over dequantised weights, for
// the llama and qwen2 families: the measure of the fast path, and the forward
// half of training.
package reference

import (
	"fmt"
	"runtime"
	"sync"

	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
)

// Weights are a model's values in float32, every matrix row-major (out x in).
type Weights struct {
	Config  arch.Config
	Embed   []float32 // Vocab x Dim
	Head    []float32 // Vocab x Dim; the slice of Embed when tied
	OutNorm []float32 // Dim
	Layers  []Layer
}

// Layer is one transformer block.
type Layer struct {
	AttnNorm, FFNNorm []float32             // Dim each
	W                 [arch.Kinds][]float32 // Out x In each; q, k, v and gate, up lie one after another
	Bias              [arch.Kinds][]float32 // Out each, nil where the model has none

	qkv, gateUp []float32 // the storage of W's q, k, v and of gate, up
}

// New allocates zero weights for the shape c, norms at one.
func New(c arch.Config) *Weights {
	w := &Weights{Config: c, Embed: kernel.Floats(c.Vocab * c.Dim), OutNorm: ones(c.Dim), Layers: make([]Layer, c.Layers)}
	w.Head = w.Embed
	if !c.Tied {
		w.Head = kernel.Floats(c.Vocab * c.Dim)
	}
	layer := 0
	for k := range arch.Kinds {
		out, in := c.Shape(k)
		layer += out * in
	}
	all := kernel.Floats(c.Layers * layer)
	for i := range w.Layers {
		l := &w.Layers[i]
		l.AttnNorm, l.FFNNorm = ones(c.Dim), ones(c.Dim)
		l.qkv = cut(c, &all, &l.W, arch.Q, arch.V)
		cut(c, &all, &l.W, arch.O, arch.O)
		l.gateUp = cut(c, &all, &l.W, arch.Gate, arch.Up)
		cut(c, &all, &l.W, arch.Down, arch.Down)
		if c.QKVBias {
			for k := arch.Q; k <= arch.V; k++ {
				out, _ := c.Shape(k)
				l.Bias[k] = make([]float32, out)
			}
		}
	}
	return w
}

// cut takes the kinds from first to last as one block from all and hands each
// its part.
func cut(c arch.Config, all *[]float32, w *[arch.Kinds][]float32, first, last arch.Kind) []float32 {
	at := 0
	for k := first; k <= last; k++ {
		out, in := c.Shape(k)
		w[k] = (*all)[at : at+out*in : at+out*in]
		at += out * in
	}
	block := (*all)[:at:at]
	*all = (*all)[at:]
	return block
}

func ones(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	return x
}

// Load dequantises the model in f, whose shape is c, on all cores.
func Load(f *gguf.File, c arch.Config) (*Weights, error) {
	w := New(c)
	type job struct {
		name       string
		dst        []float32
		rows, cols int
	}
	jobs := []job{
		{"token_embd.weight", w.Embed, c.Vocab, c.Dim},
		{"output_norm.weight", w.OutNorm, 1, c.Dim},
	}
	if !c.Tied {
		jobs = append(jobs, job{"output.weight", w.Head, c.Vocab, c.Dim})
	}
	for i := range w.Layers {
		l := &w.Layers[i]
		at := func(name string) string { return fmt.Sprintf("blk.%d.%s", i, name) }
		jobs = append(jobs,
			job{at("attn_norm.weight"), l.AttnNorm, 1, c.Dim},
			job{at("ffn_norm.weight"), l.FFNNorm, 1, c.Dim})
		for k := arch.Q; k < arch.Kinds; k++ {
			out, in := c.Shape(k)
			jobs = append(jobs, job{at(k.String() + ".weight"), l.W[k], out, in})
			if l.Bias[k] != nil {
				jobs = append(jobs, job{at(k.String() + ".bias"), l.Bias[k], 1, out})
			}
		}
	}
	for _, j := range jobs {
		t := f.Tensor(j.name)
		if t == nil {
			return nil, &fault.Error{Op: "load model", Path: f.Path(), Err: fmt.Errorf("tensor %s is missing", j.name), Hint: "crayon pull"}
		}
		if t.Rows() != j.rows || t.Cols() != j.cols {
			return nil, &fault.Error{Op: "load model", Path: f.Path(), Err: fmt.Errorf("tensor %s is %d x %d, the model's shape wants %d x %d", j.name, t.Rows(), t.Cols(), j.rows, j.cols), Hint: "crayon pull"}
		}
	}
	queue := make(chan job)
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(jobs)) {
		wait.Go(func() {
			for j := range queue {
				f.Tensor(j.name).Floats(j.dst)
			}
		})
	}
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	wait.Wait()
	return w, nil
}
