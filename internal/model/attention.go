package model

import "crayon/internal/kernel"

// tile is how many queries of one sequence share a product with the keys.
const tile = 32

// attend computes att = softmax(q k / sqrt(HeadDim)) v for every row and head,
// over the row's own sequence up to its position (causal).
func (m *Model) attend(in []Input, rows []row, l int, q, att []float32) {
	c := m.Config
	// Runs of consecutive rows of one input, cut into tiles.
	type run struct{ lo, hi int }
	var runs []run
	for i := 0; i < len(rows); {
		j := i + 1
		for j < len(rows) && rows[j].input == rows[i].input && j-i < tile {
			j++
		}
		runs = append(runs, run{i, j})
		i = j
	}
	group := c.Heads / c.KVHeads
	m.team.For(len(runs)*c.KVHeads, 1, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			r, kvHead := runs[t/c.KVHeads], t%c.KVHeads
			upto := rows[r.hi-1].pos + 1
			segs := in[rows[r.lo].input].Cache.segments(l, upto, make([]segment, 0, 2))
			for g := 0; g < group; g++ {
				m.attendTile(rows[r.lo:r.hi], r.lo, segs, upto, kvHead*group+g, kvHead, q, att)
			}
		}
	})
}

// attendTile does one head for up to `tile` consecutive rows of one sequence.
func (m *Model) attendTile(rows []row, first int, segs []segment, upto, head, kvHead int, q, att []float32) {
	c := m.Config
	hd, qw, kvw := c.HeadDim, c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	n := len(rows)
	scores := make([]float32, n*upto)
	scale := m.invSqrt()
	at := 0
	for _, s := range segs {
		kernel.Gemm(nil, false, true, n, s.n, hd, scale, q[first*qw+head*hd:], qw, s.k[kvHead*hd:], kvw, 0, scores[at:], upto)
		at += s.n
	}
	for i, r := range rows {
		kernel.Softmax(scores[i*upto : i*upto+r.pos+1])
		clear(scores[i*upto+r.pos+1 : (i+1)*upto])
	}
	at = 0
	for j, s := range segs {
		beta := float32(1)
		if j == 0 {
			beta = 0
		}
		kernel.Gemm(nil, false, false, n, hd, s.n, 1, scores[at:], upto, s.v[kvHead*hd:], kvw, beta, att[first*qw+head*hd:], qw)
		at += s.n
	}
}
