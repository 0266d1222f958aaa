// Package model runs a small llama- or qwen2-family LLM on the CPU: packed
// low-bit weights, a key-value cache that can be forked, batches of sequences,
// and a low-rank side path for adapters. It knows tokens, not text.
package model

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
)

// Options of Open. The zero value is what most callers want.
type Options struct {
	Threads int // worker threads; 0 means one a core
}

// Model is an open LLM. Its methods may be called from several goroutines;
// forward passes take turns.
type Model struct {
	Config arch.Config

	file    *gguf.File
	team    *kernel.Team
	arena   *kernel.Arena
	embed   *gguf.Tensor
	head    *kernel.Matrix
	outNorm []float32
	layers  []layer

	mu      sync.Mutex // one forward pass at a time: guards what follows, and the team
	scratch scratch
	looked  int       // rows of the embedding read since the file's pages were given back
	cos     []float32 // of the positions seen so far, x HeadDim/2
	sin     []float32

	computed atomic.Int64

	featOnce sync.Once
	featQ    []float32 // first layer's query projection, out x in, for Feature
}

type layer struct {
	attnNorm, ffnNorm []float32
	w                 [arch.Kinds]*kernel.Matrix
	bias              [arch.Kinds][]float32
}

// Open maps the GGUF file at path and packs its weights for this machine's
// kernels. The caller must Close it.
func Open(path string, opt Options) (*Model, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	m, err := FromFile(f, opt)
	if err != nil {
		f.Close()
		return nil, err
	}
	return m, nil
}

// FromFile is Open on a file already read; the model takes over closing it.
func FromFile(f *gguf.File, opt Options) (*Model, error) {
	c, err := arch.FromGGUF(f)
	if err != nil {
		return nil, err
	}
	m := &Model{Config: c, file: f, team: kernel.NewTeam(opt.Threads), arena: new(kernel.Arena), embed: f.Tensor("token_embd.weight")}
	if err := m.load(); err != nil {
		m.team.Close()
		return nil, err
	}
	return m, nil
}

// Close ends the workers and unmaps the file.
func (m *Model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.team.Close()
	return m.file.Close()
}

// File is the model's GGUF file: its vocabulary, template and digests.
func (m *Model) File() *gguf.File { return m.file }

// Threads is how many workers a forward pass uses.
func (m *Model) Threads() int { return m.team.Threads() }

// Computed is how many tokens went through the layers since the model was
// opened: what was computed twice counts twice.
func (m *Model) Computed() int64 { return m.computed.Load() }

// Bytes is the size of the packed weights in memory.
func (m *Model) Bytes() int {
	n := m.head.Bytes()
	for i := range m.layers {
		for _, w := range m.layers[i].w {
			n += w.Bytes()
		}
	}
	return n
}

func (m *Model) load() error {
	c := m.Config
	vector := func(name string, n int) ([]float32, error) {
		v := make([]float32, n)
		m.file.Tensor(name).Floats(v)
		for _, x := range v {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				return nil, &fault.Error{Op: "read model", Path: m.file.Path() + ": " + name,
					Err: fmt.Errorf("holds a value that is not a number"), Hint: "crayon pull --force", Exit: fault.ExitVerify}
			}
		}
		return v, nil
	}
	var err error
	if m.outNorm, err = vector("output_norm.weight", c.Dim); err != nil {
		return err
	}
	m.layers = make([]layer, c.Layers)
	for l := range m.layers {
		b := &m.layers[l]
		if b.attnNorm, err = vector(arch.NormTensor(l, "attn_norm"), c.Dim); err != nil {
			return err
		}
		if b.ffnNorm, err = vector(arch.NormTensor(l, "ffn_norm"), c.Dim); err != nil {
			return err
		}
		for k := arch.Kind(0); k < arch.Kinds; k++ {
			s := arch.SlotOf(l, k)
			if b.w[k], err = pack(m.arena, m.team, m.file.Tensor(s.Tensor())); err != nil {
				return err
			}
			if t := m.file.Tensor(s.BiasTensor()); t != nil {
				if b.bias[k], err = vector(t.Name, t.Elements()); err != nil {
					return err
				}
			}
		}
		m.file.Forget() // the packed weights take its place, layer by layer
	}
	head := m.embed
	if !c.Tied {
		head = m.file.Tensor("output.weight")
	}
	m.head, err = pack(m.arena, m.team, head)
	m.arena.Trim()
	m.file.Forget() // of the file, single rows are read from now on
	return err
}

// angles tabulates the rotation angles (Su et al. 2021) of the first n
// positions, and some more.
func (m *Model) angles(n int) {
	c := m.Config
	half := c.HeadDim / 2
	done := len(m.cos) / half
	if n <= done {
		return
	}
	n = min(c.Context, max(n, 2*done, chunk))
	m.cos = append(m.cos, make([]float32, (n-done)*half)...)
	m.sin = append(m.sin, make([]float32, (n-done)*half)...)
	for i := range half {
		f := math.Pow(c.RopeBase, -2*float64(i)/float64(c.HeadDim))
		for p := done; p < n; p++ {
			s, co := math.Sincos(float64(p) * f)
			m.cos[p*half+i], m.sin[p*half+i] = float32(co), float32(s)
		}
	}
}
