package model

import (
	"context"
	"fmt"

	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/kernel"
)

// Feature is Features of one text.
func (m *Model) Feature(ctx context.Context, layer int, tokens []int32) ([]float32, error) {
	all, err := m.Features(ctx, layer, [][]int32{tokens})
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// Features are the means over tokens of a layer's activation for several texts,
// before centring (Dim or Heads*HeadDim values each). Layer 0 is "q1": the first
// layer's query projection of the normed embeddings, a table look-up and one
// product. Layer l > 0 is "hl": the residual stream after layer l of the bare
// base model.
func (m *Model) Features(ctx context.Context, layer int, texts [][]int32) ([][]float32, error) {
	c := m.Config
	if layer < 0 || layer > c.Layers {
		return nil, &fault.Error{Op: "feature", Err: fmt.Errorf("layer %d is not in 0..%d", layer, c.Layers)}
	}
	out := make([][]float32, len(texts))
	for i, tokens := range texts {
		if len(tokens) == 0 {
			return nil, &fault.Error{Op: "feature", Err: fmt.Errorf("text %d has no tokens", i+1)}
		}
	}
	if layer == 0 {
		for i, tokens := range texts {
			var err error
			if out[i], err = m.firstQuery(tokens); err != nil {
				return nil, err
			}
		}
		return out, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for lo := 0; lo < len(texts); {
		// As many texts as fill a chunk: the caches of all would be large.
		var in []Input
		for n := 0; lo+len(in) < len(texts); {
			tokens := texts[lo+len(in)]
			if n += len(tokens); len(in) > 0 && n > chunk {
				break
			}
			in = append(in, Input{Cache: m.NewCache(len(tokens)), Tokens: tokens})
		}
		part := out[lo : lo+len(in)]
		for i := range part {
			part[i] = make([]float32, c.Dim)
		}
		err := m.run(ctx, nil, in, layer, func(rows []row, h []float32) error {
			for i, r := range rows {
				kernel.Axpy(1/float32(len(in[r.input].Tokens)), h[i*c.Dim:(i+1)*c.Dim], part[r.input])
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		lo += len(in)
	}
	return out, nil
}

// firstQuery is the q1 feature of one text.
func (m *Model) firstQuery(tokens []int32) ([]float32, error) {
	c := m.Config
	slot := arch.SlotOf(0, arch.Q)
	m.featOnce.Do(func() {
		w := m.file.Tensor(slot.Tensor())
		m.featQ = make([]float32, w.Elements())
		w.Floats(m.featQ)
	})
	x, normed, mean := make([]float32, c.Dim), make([]float32, c.Dim), make([]float32, c.Dim)
	for _, t := range tokens {
		if t < 0 || int(t) >= c.Vocab {
			return nil, &fault.Error{Op: "feature", Err: fmt.Errorf("token %d is outside the vocabulary of %d", t, c.Vocab)}
		}
		m.embed.Row(int(t), x)
		kernel.RMSNorm(normed, x, m.layers[0].attnNorm, c.Eps)
		kernel.Axpy(1/float32(len(tokens)), normed, mean)
	}
	// The projection is linear, so the mean may be taken before it.
	out, in := c.Shape(arch.Q)
	q := make([]float32, out)
	for i := range q {
		q[i] = kernel.Dot(m.featQ[i*in:(i+1)*in], mean)
	}
	if b := m.layers[0].bias[arch.Q]; b != nil {
		kernel.Add(q, b)
	}
	return q, nil
}
