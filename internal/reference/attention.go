package reference

import (
	"math"

	"crayon/internal/kernel"
)

// Heads is one key head of a layer: the keys and values of all tokens of a
// batch, and the queries that use them, Rep rows a token.
type Heads struct {
	Q, K, V []float32 // n*Rep x Dim, n x Dim, n x Dim
	Dim     int
	Rep     int
}

// Group returns key head h of the state.
func (p *Pass) Group(s *State, h int) Heads {
	c := p.Linears.Weights.Config
	n, d, rep := len(p.Batch.Tokens), c.HeadDim, c.Heads/c.KVHeads
	return Heads{
		Q: s.Q[h*n*rep*d : (h+1)*n*rep*d], K: s.K[h*n*d : (h+1)*n*d], V: s.V[h*n*d : (h+1)*n*d],
		Dim: d, Rep: rep,
	}
}

// ScoreSize is how many values the largest block's scores take.
func (p *Pass) ScoreSize() int {
	c := p.Linears.Weights.Config
	return p.Batch.width * (c.Heads / c.KVHeads)
}

// Probabilities writes the block's attention to dst, Rep rows a query token by
// b.Columns: the common prefix's columns first, then the own part's; what a
// query may not see is zero.
func (h Heads) Probabilities(b *Block, dst []float32) {
	d, rep, ld := h.Dim, h.Rep, b.Columns
	scale := float32(1 / math.Sqrt(float64(d)))
	if b.Prefix > 0 {
		kernel.Gemm(nil, false, true, (b.Last-b.First)*rep, b.Prefix, d, scale,
			h.Q[b.First*rep*d:], d, h.K[b.Start*d:], d, 0, dst, ld)
	}
	for _, p := range b.Parts {
		rows := dst[(p.First-b.First)*rep*ld:]
		kernel.Gemm(nil, false, true, (p.Last-p.First)*rep, p.Last-p.Own, d, scale,
			h.Q[p.First*rep*d:], d, h.K[p.Own*d:], d, 0, rows[b.Prefix:], ld)
		for i := p.First; i < p.Last; i++ {
			seen := b.Prefix + i - p.Own + 1
			for j := (i - p.First) * rep; j < (i-p.First+1)*rep; j++ {
				row := rows[j*ld : (j+1)*ld]
				kernel.Softmax(row[:seen])
				clear(row[seen:])
			}
		}
	}
}

// attend computes the layer's attention into s.O.
func (p *Pass) attend(s *State) {
	c := p.Linears.Weights.Config
	n, d := len(p.Batch.Tokens), c.HeadDim
	rep, width := c.Heads/c.KVHeads, c.Heads*c.HeadDim
	s.O = Grow(s.O, n*width)
	p.group = Grow(p.group, n*width)
	blocks, size := p.Batch.Blocks, p.ScoreSize()
	p.scores = Grow(p.scores, p.team.Threads()*size)
	free := make(chan []float32, p.team.Threads())
	for i := range cap(free) {
		free <- p.scores[i*size : (i+1)*size]
	}
	p.team.For(c.KVHeads*len(blocks), 1, func(lo, hi int) {
		scores := <-free
		defer func() { free <- scores }()
		for job := lo; job < hi; job++ {
			g, b := job/len(blocks), &blocks[job%len(blocks)]
			h := p.Group(s, g)
			h.Probabilities(b, scores)
			out := p.group[g*n*rep*d:]
			var beta float32
			if b.Prefix > 0 {
				kernel.Gemm(nil, false, false, (b.Last-b.First)*rep, d, b.Prefix, 1,
					scores, b.Columns, h.V[b.Start*d:], d, 0, out[b.First*rep*d:], d)
				beta = 1
			}
			for _, q := range b.Parts {
				kernel.Gemm(nil, false, false, (q.Last-q.First)*rep, d, q.Last-q.Own, 1,
					scores[(q.First-b.First)*rep*b.Columns+b.Prefix:], b.Columns, h.V[q.Own*d:], d,
					beta, out[q.First*rep*d:], d)
			}
			for i := b.First; i < b.Last; i++ {
				copy(s.O[i*width+g*rep*d:i*width+(g+1)*rep*d], out[i*rep*d:(i+1)*rep*d])
			}
		}
	})
}
