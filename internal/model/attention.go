package model

import (
	"sync"

	"crayon/internal/kernel"
)

// tile is how many queries of one sequence are multiplied with its keys
// together: the more, the less often keys are read; the fewer, the less is
// computed that lies after a query.
const tile = 32

// span is a run of consecutive rows of one input.
type span struct{ lo, hi int }

// attend computes att = softmax(q k / sqrt(HeadDim)) v for every row and head,
// over the row's own sequence up to its position (causal). The bits depend on
// the row and its sequence alone, not on how either was cut into pieces.
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
	m.team.For(len(spans)*c.KVHeads, 1, func(lo, hi int) {
		b := buffers.Get().(*buffer)
		// The last spans first: they have the most keys.
		for t := lo; t < hi; t++ {
			i := len(spans)*c.KVHeads - 1 - t
			r, kvHead := spans[i/c.KVHeads], i%c.KVHeads
			upto := rows[r.hi-1].pos + 1
			b.segments = in[rows[r.lo].input].Cache.segments(l, upto, b.segments[:0])
			m.attendSpan(b, rows[r.lo:r.hi], r.lo, kvHead, q, att)
		}
		clear(b.segments)
		buffers.Put(b)
	})
}

// buffer is the memory of one worker's attention.
type buffer struct {
	segments           []segment
	query, scores, sum []float32
	half               []uint16
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// attendSpan does the heads that share one head of keys, for up to `tile`
// consecutive rows of one sequence.
func (m *Model) attendSpan(b *buffer, rows []row, first, kvHead int, q, att []float32) {
	c := m.Config
	hd, qw, kvw, group := c.HeadDim, c.Heads*c.HeadDim, c.KVHeads*c.HeadDim, c.Heads/c.KVHeads
	n, upto := len(rows)*group, rows[len(rows)-1].pos+1
	// A segment's scores may run up to a panel over its end.
	stride := upto + kernel.KeyLanes
	query, scores, sum := grow(&b.query, n*hd), grow(&b.scores, n*stride), grow(&b.sum, n*hd)
	at := func(i int) int { return (first+i/group)*qw + (kvHead*group+i%group)*hd }
	for i := range n {
		x := query[i*hd : (i+1)*hd]
		copy(x, q[at(i):])
		kernel.Scale(m.invSqrt(), x)
	}
	pos := 0
	for _, s := range b.segments {
		kernel.ScoreKeys(scores[pos:], stride, query, n, hd, s.k[kvHead*hd*kernel.KeyLanes:], kvw*kernel.KeyLanes, s.n)
		pos += s.n
	}
	for i := range n {
		end := rows[i/group].pos + 1
		kernel.Softmax(scores[i*stride : i*stride+end])
		clear(scores[i*stride+end : i*stride+upto])
	}
	clear(sum)
	pos = 0
	for _, s := range b.segments {
		kernel.SumValues(sum, n, hd, scores[pos:], stride, s.v[kvHead*hd:], kvw, s.n)
		pos += s.n
	}
	for i := range n {
		copy(att[at(i):], sum[i*hd:(i+1)*hd])
	}
}
