package reference

import (
	"fmt"

	"crayon/internal/fault"
	"crayon/internal/kernel"
)

// Forward runs trees through all layers, every tree with the same side path
// (nil: none).
func (w *Weights) Forward(t *kernel.Team, trees []Branches, side *Side) (*Pass, error) {
	return w.run(t, trees, side, w.Config.Layers)
}

func (w *Weights) run(t *kernel.Team, trees []Branches, side *Side, layers int) (*Pass, error) {
	l := w.linears(0)
	var rows [][]float32
	if side != nil && side.Stack != nil && side.Stack.Rank > 0 {
		var err error
		if l, err = w.Bind(side.Stack); err != nil {
			return nil, err
		}
		if len(side.Row) != l.Rank {
			return nil, &fault.Error{Op: "bind adapters", Err: fmt.Errorf("%d row weights for %d stacked rows", len(side.Row), l.Rank)}
		}
		for range trees {
			rows = append(rows, side.Row)
		}
	}
	b, err := NewBatch(w.Config.Vocab, trees, rows)
	if err != nil {
		return nil, err
	}
	p := NewPass(l, t, false)
	p.Run(b, layers, nil)
	return p, nil
}

// Logits writes the logits after each of the batch's tokens named in index to
// dst (len(index) x Vocab). The pass must have run all layers.
func (p *Pass) Logits(index []int, dst []float32) {
	w := p.Linears.Weights
	c := w.Config
	x := make([]float32, len(index)*c.Dim)
	for i, at := range index {
		copy(x[i*c.Dim:(i+1)*c.Dim], p.Out[at*c.Dim:])
	}
	p.Norm(x, x, w.OutNorm)
	kernel.Gemm(p.team, false, true, len(index), c.Vocab, c.Dim, 1, x, c.Dim, w.Head, c.Dim, 0, dst, c.Vocab)
}

// Logits writes the logits after the tokens at the given positions of one
// sequence to dst (len(positions) x Vocab).
func (w *Weights) Logits(t *kernel.Team, tokens []int32, side *Side, positions []int, dst []float32) error {
	for _, at := range positions {
		if at < 0 || at >= len(tokens) {
			return &fault.Error{Op: "compute logits", Err: fmt.Errorf("position %d of %d tokens", at, len(tokens))}
		}
	}
	if len(dst) < len(positions)*w.Config.Vocab {
		return &fault.Error{Op: "compute logits", Err: fmt.Errorf("room for %d values, %d positions need %d", len(dst), len(positions), len(positions)*w.Config.Vocab)}
	}
	p, err := w.Forward(t, []Branches{{Prefix: tokens}}, side)
	if err != nil {
		return err
	}
	p.Logits(positions, dst)
	return nil
}

// Hidden writes the residual after the first `layers` layers to dst (len(tokens) x Dim).
func (w *Weights) Hidden(t *kernel.Team, tokens []int32, side *Side, layers int, dst []float32) error {
	if layers < 0 || layers > w.Config.Layers {
		return &fault.Error{Op: "compute hidden states", Err: fmt.Errorf("layer %d, the model has %d", layers, w.Config.Layers)}
	}
	p, err := w.run(t, []Branches{{Prefix: tokens}}, side, layers)
	if err != nil {
		return err
	}
	copy(dst, p.Out)
	return nil
}

// FirstQuery writes the first layer's query projection of the normed
// embeddings, without bias, rotation or adapters, to dst (len(tokens) x Heads*HeadDim).
func (w *Weights) FirstQuery(t *kernel.Team, tokens []int32, dst []float32) error {
	c := w.Config
	p, err := w.run(t, []Branches{{Prefix: tokens}}, nil, 0)
	if err != nil {
		return err
	}
	width := c.Heads * c.HeadDim
	p.Norm(p.Out, p.Out, w.Layers[0].AttnNorm)
	kernel.Gemm(t, false, true, len(tokens), width, c.Dim, 1, p.Out, c.Dim, w.Layers[0].W[0], c.Dim, 0, dst, width)
	return nil
}
