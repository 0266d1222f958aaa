package model

import (
	"context"
	"fmt"
	"math"
	"slices"

	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/kernel"
)

// chunk is how many tokens go through the layers at a time: enough to fill the
// product tiles, few enough that activations stay in cache.
const chunk = 512

// Input is what one sequence adds in a forward pass.
type Input struct {
	Cache  *Cache
	Tokens []int32
	Row    []float32 // one weight a stacked row of the Side; nil is the base model
	Want   Want
}

// Want says which outputs of an Input the caller needs.
type Want uint8

// The outputs: none, the last token's, every token's.
const (
	WantNone Want = iota
	WantLast
	WantAll
)

// scratch is the memory of one forward pass, kept between passes.
type scratch struct {
	h, x, q, k, v, att, gate, up []float32
	acts                         kernel.Acts
	low                          [most]kernel.Low
	weights                      [][]float32
	spans                        []span
	jobs                         []kernel.Job
	logits                       []float32
}

func grow[T float32 | uint16](p *[]T, n int) []T {
	if cap(*p) < n {
		*p = make([]T, n)
	}
	*p = (*p)[:n]
	return *p
}

// Forward runs the inputs as one batch, appends to their caches, and calls emit
// with the logits (Vocab values) of every wanted token, in order: input index
// and token index within it. The slice is reused after emit returns. A cache may
// be in one input only. On an error the caches are as they were before.
func (m *Model) Forward(ctx context.Context, side *Side, in []Input, emit func(input, token int, logits []float32) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.run(ctx, side, in, m.Config.Layers, func(rows []row, h []float32) error {
		return m.heads(ctx, in, rows, h, emit)
	})
}

// row is one token of a chunk.
type row struct {
	input, token, pos int
}

// run takes the inputs through the first `layers` layers, chunk by chunk, and
// hands each chunk's residual stream (rows x Dim) to done.
func (m *Model) run(ctx context.Context, side *Side, in []Input, layers int, done func(rows []row, h []float32) error) error {
	starts, longest, adapted := make([]int, len(in)), 0, false
	for i := range in {
		x := &in[i]
		if err := m.check(side, x); err != nil {
			return err
		}
		starts[i] = x.Cache.n
		longest = max(longest, x.Cache.n+len(x.Tokens))
		adapted = adapted || x.Row != nil
	}
	if !adapted {
		side = nil
	}
	m.angles(longest)
	rows := make([]row, 0, min(chunk, total(in)))
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		m.computed.Add(int64(len(rows)))
		h, err := m.layersOf(ctx, side, in, rows, layers)
		if err == nil {
			err = done(rows, h)
		}
		rows = rows[:0]
		return err
	}
	for i := range in {
		x := &in[i]
		x.Cache.reserve(len(x.Tokens))
		for j := range x.Tokens {
			rows = append(rows, row{input: i, token: j, pos: starts[i] + j})
			if len(rows) == chunk {
				if err := flush(); err != nil {
					m.forget(in, starts)
					return err
				}
			}
		}
	}
	if err := flush(); err != nil {
		m.forget(in, starts)
		return err
	}
	return nil
}

// check refuses an input before anything of its batch is computed.
func (m *Model) check(side *Side, x *Input) error {
	c := m.Config
	if x.Row != nil && (side == nil || !slices.Contains(side.ends, len(x.Row))) {
		return &fault.Error{Op: "forward", Err: fmt.Errorf("%d adapter weights for a stack of another size", len(x.Row))}
	}
	if n := x.Cache.n + len(x.Tokens); n > c.Context {
		return &fault.Error{Op: "forward", Err: fmt.Errorf("%d tokens are more than the model's context of %d", n, c.Context), Hint: "shorten the prompt"}
	}
	return m.known(x.Tokens)
}

// known refuses tokens that the model does not have.
func (m *Model) known(tokens []int32) error {
	for _, t := range tokens {
		if t < 0 || int(t) >= m.Config.Vocab {
			return &fault.Error{Op: "forward", Err: fmt.Errorf("token %d is outside the vocabulary of %d", t, m.Config.Vocab)}
		}
	}
	return nil
}

func total(in []Input) int {
	n := 0
	for i := range in {
		n += len(in[i].Tokens)
	}
	return n
}

// forget takes back what a failed pass had added to the caches.
func (m *Model) forget(in []Input, starts []int) {
	for i := range starts {
		in[i].Cache.Truncate(starts[i])
	}
}

// mostLooked is how many rows of the embedding are read before the file's pages
// are given back: the system maps 64 KiB around each.
const mostLooked = 256

// layersOf runs one chunk through the layers and returns its residual stream.
func (m *Model) layersOf(ctx context.Context, side *Side, in []Input, rows []row, layers int) ([]float32, error) {
	c, s, n := m.Config, &m.scratch, len(rows)
	h, x := grow(&s.h, n*c.Dim), grow(&s.x, n*c.Dim)
	qw, kvw := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	q, k, v := grow(&s.q, n*qw), grow(&s.k, n*kvw), grow(&s.v, n*kvw)
	att := grow(&s.att, n*qw)
	gate, up := grow(&s.gate, n*c.FF), grow(&s.up, n*c.FF)

	m.team.For(n, 16, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			r := rows[i]
			m.embed.Row(int(in[r.input].Tokens[r.token]), h[i*c.Dim:(i+1)*c.Dim])
		}
	})
	if m.looked += n; m.looked >= mostLooked {
		m.file.Forget()
		m.looked = 0
	}
	for l := 0; l < layers; l++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b := &m.layers[l]
		m.norm(x, h, b.attnNorm, n)
		m.linear(side, in, rows, l, x, c.Dim, false,
			out{arch.Q, q}, out{arch.K, k}, out{arch.V, v})
		m.store(in, rows, l, q, k, v)
		m.attend(in, rows, l, q, att)
		m.linear(side, in, rows, l, att, qw, true, out{arch.O, h})
		m.norm(x, h, b.ffnNorm, n)
		m.linear(side, in, rows, l, x, c.Dim, false, out{arch.Gate, gate}, out{arch.Up, up})
		m.team.For(n, 8, func(lo, hi int) {
			kernel.SiLUMul(gate[lo*c.FF:hi*c.FF], gate[lo*c.FF:hi*c.FF], up[lo*c.FF:hi*c.FF])
		})
		m.linear(side, in, rows, l, gate, c.FF, true, out{arch.Down, h})
	}
	for _, r := range rows {
		in[r.input].Cache.n = r.pos + 1
	}
	return h, nil
}

func (m *Model) norm(dst, src, w []float32, n int) {
	d := len(w)
	m.team.For(n, 16, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			kernel.RMSNorm(dst[i*d:(i+1)*d], src[i*d:(i+1)*d], w, m.Config.Eps)
		}
	})
}

// out is where one linear layer's product goes.
type out struct {
	kind arch.Kind
	dst  []float32
}

// linear computes dst = W x (+ bias) (+ B (row * A x)) for layers that read the
// same x of n x width; with add, it is added to dst instead.
func (m *Model) linear(side *Side, in []Input, rows []row, l int, x []float32, width int, add bool, outs ...out) {
	s, n := &m.scratch, len(rows)
	s.acts.Set(m.team, x, n, width)
	if side != nil {
		s.weights = s.weights[:0]
		for _, r := range rows {
			s.weights = append(s.weights, in[r.input].Row)
		}
	}
	jobs := s.jobs[:0]
	for i, o := range outs {
		w := m.layers[l].w[o.kind]
		j := kernel.Job{W: w, Dst: o.dst, Stride: w.Rows(), Add: add}
		if p := side.at(arch.SlotOf(l, o.kind)); p != nil {
			j.Low = &s.low[i]
			j.Low.A, j.Low.B, j.Low.Weights = p.a, p.b, s.weights
		}
		jobs = append(jobs, j)
	}
	kernel.MatMul(m.team, &s.acts, jobs...)
	s.jobs = jobs
	for _, o := range outs {
		if bias := m.layers[l].bias[o.kind]; bias != nil {
			m.team.For(n, 64, func(lo, hi int) {
				for r := lo; r < hi; r++ {
					kernel.Add(o.dst[r*len(bias):(r+1)*len(bias)], bias)
				}
			})
		}
	}
}

// most is how many linear layers read the same activations: q, k and v.
const most = 3

// store rotates q and k and writes k and v to the caches.
func (m *Model) store(in []Input, rows []row, l int, q, k, v []float32) {
	c := m.Config
	hd, half := c.HeadDim, c.HeadDim/2
	qw, kvw := c.Heads*hd, c.KVHeads*hd
	m.team.For(len(rows), 8, func(lo, hi int) {
		b := buffers.Get().(*buffer)
		tmp := grow(&b.half, kvw)
		for i := lo; i < hi; i++ {
			r := rows[i]
			cos, sin := m.cos[r.pos*half:(r.pos+1)*half], m.sin[r.pos*half:(r.pos+1)*half]
			for j := i * qw; j < (i+1)*qw; j += hd {
				kernel.Rope(q[j:j+hd], cos, sin, c.RopeHalves)
			}
			for j := i * kvw; j < (i+1)*kvw; j += hd {
				kernel.Rope(k[j:j+hd], cos, sin, c.RopeHalves)
			}
			in[r.input].Cache.put(l, r.pos, k[i*kvw:(i+1)*kvw], v[i*kvw:(i+1)*kvw], tmp)
		}
		buffers.Put(b)
	})
}

// heads computes the logits of the wanted rows and emits them in order.
func (m *Model) heads(ctx context.Context, in []Input, rows []row, h []float32, emit func(input, token int, logits []float32) error) error {
	c, s := m.Config, &m.scratch
	want := make([]int, 0, len(rows))
	for i, r := range rows {
		x := &in[r.input]
		if x.Want == WantAll || x.Want == WantLast && r.token == len(x.Tokens)-1 {
			want = append(want, i)
		}
	}
	const together = 64 // rows of logits held at a time: 64 x Vocab floats
	for len(want) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := want[:min(together, len(want))]
		want = want[len(part):]
		x := grow(&s.x, len(part)*c.Dim)
		for i, r := range part {
			kernel.RMSNorm(x[i*c.Dim:(i+1)*c.Dim], h[r*c.Dim:(r+1)*c.Dim], m.outNorm, c.Eps)
		}
		logits := grow(&s.logits, len(part)*c.Vocab)
		s.acts.Set(m.team, x, len(part), c.Dim)
		kernel.MatMul(m.team, &s.acts, kernel.Job{W: m.head, Dst: logits, Stride: c.Vocab})
		for i, r := range part {
			if err := emit(rows[r].input, rows[r].token, logits[i*c.Vocab:(i+1)*c.Vocab]); err != nil {
				return err
			}
		}
	}
	return nil
}

// invSqrt is the attention scale 1/sqrt(HeadDim).
func (m *Model) invSqrt() float32 { return float32(1 / math.Sqrt(float64(m.Config.HeadDim))) }
