//go:build linux && (amd64 || arm64)

package cuda

import (
	nv "crayon/internal/cuda"
	"crayon/internal/reference"
	"crayon/internal/train"
)

// gradient adds a batch's gradient to grad, laid out as params has it (the
// first of a step: replaces it), each example's times share, and its loss and
// counts to tally.
func (r *replica) gradient(p *pass, w *binding, b *batch, c train.Config, grads params, grad, tally nv.Ptr, share float64, first bool) error {
	if err := r.forward(p, w, b, r.config.Layers); err != nil {
		return err
	}
	for _, k := range b.chunks {
		if err := r.lossAndHead(p, b, k, c, share); err != nil {
			return err
		}
	}
	if err := r.grid("tally", [3]uint32{1, 1, 1}, 256, p.losses, tally, int32(b.examples)); err != nil {
		return err
	}
	m := r.config
	n, dim := b.tokens, m.Dim
	err := r.launch("head_grad", 32*n, p.out, b.at(fieldPlace, 0), p.dx, r.base.outNorm, p.dr, p.dres, int32(dim+p.rank), int32(n))
	if err != nil {
		return err
	}
	v := reversal{r: r, p: p, w: w, b: b, grads: grads, grad: grad}
	if !first {
		v.beta = 1
	}
	for l := m.Layers - 1; l >= 0; l-- {
		if err := v.layer(l); err != nil {
			return err
		}
	}
	return nil
}

// lossAndHead computes the losses of a chunk's examples, and of its rows'
// normed residuals the gradient.
func (r *replica) lossAndHead(p *pass, b *batch, k chunk, c train.Config, share float64) error {
	if err := r.predict(p, b, k); err != nil {
		return err
	}
	m := r.config
	ranking := int32(0)
	if c.Loss == train.Ranking {
		ranking = 1
	}
	err := r.launch("losses", k.examples, b.at(fieldAnswers, k.example), b.at(fieldTargets, 0), p.logprob, p.scores, p.slopes, at(p.losses, 3*k.example, 8),
		ranking, float32(c.RankScale), float32(c.LMWeight), float32(share), int32(k.examples))
	if err != nil {
		return err
	}
	ld := ldLogits(m)
	err = r.grid("logit_grad", [3]uint32{uint32(k.rows), 1, 1}, 256, p.logits, int32(ld), at(p.lse, k.row, four), b.at(fieldRowTargets, 0), b.at(fieldList, 0),
		b.at(fieldTargetID, 0), b.at(fieldTargetOf, 0), p.slopes, int32(k.row), p.dlogit)
	if err != nil {
		return err
	}
	return r.gemm("head reversed", nv.Gemm{M: k.rows, N: m.Dim, K: m.Vocab, Alpha: 1, A: p.dlogit, LDA: ld, B: r.base.head, C: at(p.dx, k.row*m.Dim, four), TypeA: nv.BF16, TypeB: nv.BF16, TypeC: nv.F32})
}

// reversal is the reverse pass of one batch.
type reversal struct {
	r     *replica
	p     *pass
	w     *binding
	b     *batch
	grads params
	grad  nv.Ptr
	beta  float32 // on what grad holds
}

// layer turns the gradient of the residual after layer l (p.dr, and p.dres for
// products) into that before it, but for layer 0, which nothing is below.
func (v *reversal) layer(l int) error {
	r, p, b := v.r, v.p, v.b
	c := r.config
	n, rank, qd := b.tokens, p.rank, c.Heads*c.HeadDim
	s, y := &p.states[l], &r.base.layers[l]

	// The feed-forward half.
	if err := v.linear(l, reference.InDown, p.dres, s.act, p.dact); err != nil {
		return err
	}
	ldGU := 2*c.FF + 2*rank
	if err := r.launch("activate_grad", n*c.FF/8, s.gu, p.dact, p.dgu, int32(ldGU), int32(n)); err != nil {
		return err
	}
	if err := v.linear(l, reference.InGateUp, p.dgu, s.x2, p.din); err != nil {
		return err
	}
	ldRes := c.Dim + rank
	if err := r.launch("norm_grad", 32*n, s.mid, p.din, y.ffnNorm, p.dr, p.dres, int32(ldRes), int32(n)); err != nil {
		return err
	}

	// The attention half.
	if err := v.linear(l, reference.InO, p.dres, s.o, p.do); err != nil {
		return err
	}
	if err := r.launch("attend_dot", n*c.Heads, s.o, int32(qd+rank), p.do, p.dot, int32(n)); err != nil {
		return err
	}
	ldQKV := qd + 2*c.KVHeads*c.HeadDim + 3*rank
	for _, x := range []struct {
		kernel       string
		field, tiles int
	}{{"attend_dq", fieldTiles, b.tiles}, {"attend_dkv", fieldKeyTiles, b.keyTiles}} {
		err := r.grid(x.kernel, [3]uint32{uint32(x.tiles), uint32(c.KVHeads), 1}, 128, s.qkv, p.do, b.at(x.field, 0), b.at(fieldShared, 0), b.at(fieldOwn, 0), s.lse, p.dot,
			b.at(fieldPosition, 0), r.cos, r.sin, p.dqkv, int32(ldQKV))
		if err != nil {
			return err
		}
	}
	if l == 0 {
		return v.linear(l, reference.InQKV, p.dqkv, s.x, 0)
	}
	if err := v.linear(l, reference.InQKV, p.dqkv, s.x, p.din); err != nil {
		return err
	}
	return r.launch("norm_grad", 32*n, s.in, p.din, y.attnNorm, p.dr, p.dres, int32(ldRes), int32(n))
}

// linear reverses a group: dy has the gradient of its outputs (rows of out +
// side) and takes that of the low-rank values beside it; x is the input, with
// the weighted low-rank values of the forward pass beside it. dx (n x in) is
// the gradient of the input; 0: not wanted.
func (v *reversal) linear(l, which int, dy, x, dx nv.Ptr) error {
	r, n, rank := v.r, v.b.tokens, v.p.rank
	g, m, name := groups(r.config)[which], &v.w.layers[l][which], groupNames[which]
	side := g.side(rank)
	ldy, ldx := g.out+side, g.in+side
	dz := at(dy, g.out, two)
	err := r.gemm("dz "+name, nv.Gemm{M: n, N: side, K: g.out, Alpha: 1, A: dy, LDA: ldy, B: at(m.both, g.in, two), LDB: ldx, C: dz, LDC: ldy, TypeA: nv.BF16, TypeB: nv.BF16, TypeC: nv.BF16})
	if err != nil {
		return err
	}
	if err := r.weigh(v.p, v.b, dz, ldy, side); err != nil {
		return err
	}
	row, col := 0, g.in
	for k := g.first; k <= g.last; k++ {
		out, _ := r.config.Shape(k)
		err := r.gemm("dB "+name, nv.Gemm{TransA: true, M: out, N: rank, K: n, Alpha: 1, Beta: v.beta, A: at(dy, row, two), LDA: ldy, B: at(x, col, two), LDB: ldx,
			C: at(v.grad, v.grads.b[l][k], four), TypeA: nv.BF16, TypeB: nv.BF16, TypeC: nv.F32})
		if err != nil {
			return err
		}
		row, col = row+out, col+rank
	}
	err = r.gemm("dA "+name, nv.Gemm{TransA: true, M: side, N: g.in, K: n, Alpha: 1, Beta: v.beta, A: dz, LDA: ldy, B: x, LDB: ldx,
		C: at(v.grad, v.grads.a[l][g.first], four), TypeA: nv.BF16, TypeB: nv.BF16, TypeC: nv.F32})
	if err != nil || dx == 0 {
		return err
	}
	return r.gemm("dx "+name, nv.Gemm{M: n, N: g.in, K: ldy, Alpha: 1, A: dy, LDA: ldy, B: m.down, C: dx, TypeA: nv.BF16, TypeB: nv.BF16, TypeC: nv.BF16})
}
