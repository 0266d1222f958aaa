package train

import (
	"math"

	"crayon/internal/kernel"
	"crayon/internal/reference"
)

// attention reverses the attention of a layer.
type attention struct {
	p, dp  []float32 // one block's probabilities and their gradient
	do, dq []float32 // one key head's: n*Rep x HeadDim
	dk, dv []float32 // n x HeadDim
	minus  []float32 // -Sin of the pass's tables
}

// reverse takes the gradient dO (n x Heads*HeadDim) of the attention's output
// to that of q, k and v before rotation, in the columns of out (rows of ld).
func (a *attention) reverse(p *reference.Pass, s *reference.State, dO, out []float32, ld int) {
	c := p.Linears.Weights.Config
	n, d, half := len(p.Batch.Tokens), c.HeadDim, c.HeadDim/2
	rep, qd, kd := c.Heads/c.KVHeads, c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	for i := len(a.minus); i < len(p.Sin); i++ {
		a.minus = append(a.minus, -p.Sin[i])
	}
	size := p.ScoreSize()
	a.p, a.dp = reference.Grow(a.p, size), reference.Grow(a.dp, size)
	a.do, a.dq = reference.Grow(a.do, n*rep*d), reference.Grow(a.dq, n*rep*d)
	a.dk, a.dv = reference.Grow(a.dk, n*d), reference.Grow(a.dv, n*d)
	for g := range c.KVHeads {
		h := p.Group(s, g)
		for i := range n {
			copy(a.do[i*rep*d:(i+1)*rep*d], dO[i*qd+g*rep*d:])
		}
		clear(a.dk)
		clear(a.dv)
		for i := range p.Batch.Blocks {
			a.block(h, &p.Batch.Blocks[i])
		}
		for i := range n {
			pos := p.Batch.Position[i]
			cos, sin := p.Cos[pos*half:(pos+1)*half], a.minus[pos*half:(pos+1)*half]
			row := out[i*ld : i*ld+qd+2*kd]
			dq := row[g*rep*d : (g+1)*rep*d]
			copy(dq, a.dq[i*rep*d:])
			for j := range rep {
				kernel.Rope(dq[j*d:(j+1)*d], cos, sin, c.RopeHalves)
			}
			dk := row[qd+g*d : qd+(g+1)*d]
			copy(dk, a.dk[i*d:])
			kernel.Rope(dk, cos, sin, c.RopeHalves)
			copy(row[qd+kd+g*d:], a.dv[i*d:(i+1)*d])
		}
	}
}

// block reverses one block of queries for one key head: dQ is written, dK and
// dV are added to.
func (a *attention) block(h reference.Heads, b *reference.Block) {
	d, rep, ld := h.Dim, h.Rep, b.Columns
	h.Probabilities(b, a.p)
	// dP = dO V^T, for the columns that a query sees.
	a.spans(b, rep, func(q, rows, row, col, key, keys int, _ float32) {
		kernel.Gemm(nil, false, true, rows, keys, d, 1, a.do[q*rep*d:], d, h.V[key*d:], d, 0, a.dp[row*ld+col:], ld)
	})
	// dS = P (dP - sum P dP).
	for _, p := range b.Parts {
		for i := p.First; i < p.Last; i++ {
			seen := b.Prefix + i - p.Own + 1
			for j := (i - b.First) * rep; j < (i-b.First+1)*rep; j++ {
				prob, ds := a.p[j*ld:j*ld+seen], a.dp[j*ld:(j+1)*ld]
				mean := kernel.Dot(prob, ds)
				kernel.Mul(ds[:seen], ds[:seen], prob)
				kernel.Axpy(-mean, prob, ds[:seen])
				clear(ds[seen:])
			}
		}
	}
	scale := float32(1 / math.Sqrt(float64(d)))
	a.spans(b, rep, func(q, rows, row, col, key, keys int, beta float32) {
		ds, p := a.dp[row*ld+col:], a.p[row*ld+col:]
		kernel.Gemm(nil, false, false, rows, d, keys, scale, ds, ld, h.K[key*d:], d, beta, a.dq[q*rep*d:], d)
		kernel.Gemm(nil, true, false, keys, d, rows, scale, ds, ld, h.Q[q*rep*d:], d, 1, a.dk[key*d:], d)
		kernel.Gemm(nil, true, false, keys, d, rows, 1, p, ld, a.do[q*rep*d:], d, 1, a.dv[key*d:], d)
	})
}

// spans calls f for each rectangle of a block's scores: the common prefix, then
// each part's own keys. q is the first query token, rows how many rows, row and
// col where they begin among the scores, key and keys the key tokens, and beta
// 0 for the first rectangle of a row, else 1.
func (a *attention) spans(b *reference.Block, rep int, f func(q, rows, row, col, key, keys int, beta float32)) {
	var beta float32
	if b.Prefix > 0 {
		f(b.First, (b.Last-b.First)*rep, 0, 0, b.Start, b.Prefix, 0)
		beta = 1
	}
	for _, p := range b.Parts {
		f(p.First, (p.Last-p.First)*rep, (p.First-b.First)*rep, b.Prefix, p.Own, p.Last-p.Own, beta)
	}
}
