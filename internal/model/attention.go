package model

import (
	"sync"

	"crayon/internal/kernel"
)

const (
	tile    = 32 // queries of one sequence that share a product with the keys
	fewRows = 4  // below this many queries, products row by row are faster
)

// span is a run of consecutive rows of one input.
type span struct{ lo, hi int }

// attend computes att = softmax(q k / sqrt(HeadDim)) v for every row and head,
// over the row's own sequence up to its position (causal).
func (m *Model) attend(in []Input, rows []row, l int, q, att []float32) {
	c := m.Config
	spans := m.scratch.spans[:0]
	for i := 0; i < len(rows); {
		j := i + 1
		for j < len(rows) && rows[j].input == rows[i].input && j-i < tile {
			j++
		}
		spans = append(spans, span{i, j})
		i = j
	}
	m.scratch.spans = spans
	group := c.Heads / c.KVHeads
	m.team.For(len(spans)*c.KVHeads, 1, func(lo, hi int) {
		b := buffers.Get().(*buffer)
		for t := lo; t < hi; t++ {
			r, kvHead := spans[t/c.KVHeads], t%c.KVHeads
			upto := rows[r.hi-1].pos + 1
			b.segments = in[rows[r.lo].input].Cache.segments(l, upto, b.segments[:0])
			for g := range group {
				m.attendSpan(b, rows[r.lo:r.hi], r.lo, kvHead*group+g, kvHead, q, att)
			}
		}
		clear(b.segments)
		buffers.Put(b)
	})
}

// buffer is the memory of one worker's attention.
type buffer struct {
	segments []segment
	scores   []float32
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// attendSpan does one head for up to `tile` consecutive rows of one sequence.
func (m *Model) attendSpan(b *buffer, rows []row, first, head, kvHead int, q, att []float32) {
	c := m.Config
	hd, qw, kvw := c.HeadDim, c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	n, upto := len(rows), rows[len(rows)-1].pos+1
	scores := grow(&b.scores, n*upto)
	q, att = q[first*qw+head*hd:], att[first*qw+head*hd:]
	scale := m.invSqrt()
	at := 0
	for _, s := range b.segments {
		k := s.k[kvHead*hd:]
		if n < fewRows {
			for i := range n {
				kernel.Scores(scores[i*upto+at:][:s.n], q[i*qw:][:hd], k, kvw)
			}
		} else {
			kernel.Gemm(nil, false, true, n, s.n, hd, 1, q, qw, k, kvw, 0, scores[at:], upto)
		}
		at += s.n
	}
	for i, r := range rows {
		x := scores[i*upto : (i+1)*upto]
		kernel.Scale(scale, x[:r.pos+1])
		kernel.Softmax(x[:r.pos+1])
		clear(x[r.pos+1:])
	}
	at = 0
	for j, s := range b.segments {
		v := s.v[kvHead*hd:]
		if n < fewRows {
			for i := range n {
				dst := att[i*qw:][:hd]
				if j == 0 {
					clear(dst)
				}
				kernel.WeightedSum(dst, scores[i*upto+at:][:s.n], v, kvw)
			}
		} else {
			beta := float32(1)
			if j == 0 {
				beta = 0
			}
			kernel.Gemm(nil, false, false, n, hd, s.n, 1, scores[at:], upto, v, kvw, beta, att, qw)
		}
		at += s.n
	}
}
