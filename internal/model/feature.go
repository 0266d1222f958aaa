package model

import (
	"context"
	"fmt"

	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/kernel"
)

// Feature is the mean over tokens of a layer's activation, before centring
// (Dim or Heads*HeadDim values). Layer 0 is "q1": the first layer's query
// projection of the normed embeddings, a table look-up and one product. Layer
// l > 0 is "hl": the residual stream after layer l of the bare base model.
func (m *Model) Feature(ctx context.Context, layer int, tokens []int32) ([]float32, error) {
	c := m.Config
	if len(tokens) == 0 || layer < 0 || layer > c.Layers {
		return nil, &fault.Error{Op: "feature", Err: fmt.Errorf("no tokens, or layer %d not in 0..%d", layer, c.Layers)}
	}
	mean := make([]float32, c.Dim)
	if layer > 0 {
		m.mu.Lock()
		defer m.mu.Unlock()
		err := m.run(ctx, nil, []Input{{Cache: m.NewCache(len(tokens)), Tokens: tokens}}, layer, func(rows []row, h []float32) error {
			for i := range rows {
				kernel.Axpy(1/float32(len(tokens)), h[i*c.Dim:(i+1)*c.Dim], mean)
			}
			return nil
		})
		return mean, err
	}
	slot := arch.SlotOf(0, arch.Q)
	m.featOnce.Do(func() {
		w := m.file.Tensor(slot.Tensor())
		m.featQ = make([]float32, w.Elements())
		w.Floats(m.featQ)
	})
	x, normed := make([]float32, c.Dim), make([]float32, c.Dim)
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
