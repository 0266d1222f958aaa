package reference

import (
	"math"

	"crayon/internal/arch"
	"crayon/internal/kernel"
)

// State is what a layer leaves behind: enough to reverse it with cheap parts
// (norms, activations, softmax) computed again. n is the batch's tokens.
type State struct {
	In      []float32 // n x Dim, the residual that enters
	Q       []float32 // KVHeads x (n*Heads/KVHeads) x HeadDim, rotated: the query heads of a key head together
	K, V    []float32 // KVHeads x n x HeadDim, K rotated
	Only    []int     // the tokens that O and what follows is computed for, ascending; nil: all n
	O       []float32 // n x Heads*HeadDim, out of attention
	Mid     []float32 // n x Dim, the residual after attention
	GateUp  []float32 // n x Stride of InGateUp: gate, up, weighted z of both
	ZQKV    []float32 // n x 3*Rank, weighted z
	ZO, ZFF []float32 // n x Rank, weighted z of o and down
}

// Pass runs batches through the layers. Its buffers grow and are kept, so one
// Pass serves many batches, one after another.
type Pass struct {
	Linears *Linears
	Keep    bool        // keep every layer's State for a reverse pass
	States  []State     // one a layer when kept, else one
	Out     []float32   // the residual after the last layer run, Dim a token asked for
	Cos     []float32   // positions x HeadDim/2
	Sin     []float32   // positions x HeadDim/2
	Batch   *Batch      // of the last Run
	Weights [][]float32 // a tree's row weights three times over, as the groups want them

	team             *kernel.Team
	x, y, act, group []float32
	scores           []float32
}

// NewPass prepares passes over l; t shares each pass among threads, nil runs it
// on the caller's.
func NewPass(l *Linears, t *kernel.Team, keep bool) *Pass {
	return &Pass{Linears: l, Keep: keep, team: t}
}

// Grow returns x with n values, reallocated only when it is too small.
func Grow(x []float32, n int) []float32 {
	if cap(x) < n {
		return kernel.Floats(n)
	}
	return x[:n]
}

// Run computes the first `layers` layers for the batch, leaving the residual in
// Out: that of the tokens in only, which ascend, or of all if it is nil.
func (p *Pass) Run(b *Batch, layers int, only []int) { p.RunFrom(b, 0, nil, layers, only) }

// RunFrom is Run for the layers from `from` on, for x (tokens x Dim), the
// residual after the first `from`; nil is the embeddings, for from 0.
func (p *Pass) RunFrom(b *Batch, from int, x []float32, layers int, only []int) {
	w := p.Linears.Weights
	c := w.Config
	n := len(b.Tokens)
	p.Batch = b
	p.tables(b.longest)
	p.tile()
	count, at := 1, 0
	if p.Keep {
		count, at = max(layers, from+1), from
	}
	for len(p.States) < count {
		p.States = append(p.States, State{})
	}
	first := &p.States[at]
	first.In = Grow(first.In, n*c.Dim)
	if x != nil {
		copy(first.In, x[:n*c.Dim])
	} else {
		for i, id := range b.Tokens {
			copy(first.In[i*c.Dim:(i+1)*c.Dim], w.Embed[int(id)*c.Dim:])
		}
	}
	p.Out = Grow(p.Out, n*c.Dim)
	for l := from; l < layers; l++ {
		s := first
		if p.Keep {
			s = &p.States[l]
		}
		out := &p.Out
		s.Only = nil
		if l == layers-1 {
			s.Only = only
		}
		if p.Keep && l+1 < layers {
			out = &p.States[l+1].In
			*out = Grow(*out, n*c.Dim)
		}
		p.layer(l, s, *out)
		if !p.Keep && l+1 < layers {
			s.In, p.Out = p.Out, s.In
		}
	}
	switch {
	case only == nil && layers == from:
		copy(p.Out, first.In)
	case only != nil:
		if layers == from {
			gather(p.Out, first.In, c.Dim, only)
		}
		p.Out = p.Out[:len(only)*c.Dim]
	}
}

// gather copies the given rows of src (rows of width) to dst, which may be src
// where the rows ascend.
func gather(dst, src []float32, width int, rows []int) {
	for i, at := range rows {
		copy(dst[i*width:(i+1)*width], src[at*width:(at+1)*width])
	}
}

// tables holds the rotary angles of positions below n.
func (p *Pass) tables(n int) {
	c := p.Linears.Weights.Config
	half := c.HeadDim / 2
	for pos := len(p.Cos) / half; pos < n; pos++ {
		for i := range half {
			angle := float64(pos) * math.Pow(c.RopeBase, -2*float64(i)/float64(c.HeadDim))
			sin, cos := math.Sincos(angle)
			p.Cos, p.Sin = append(p.Cos, float32(cos)), append(p.Sin, float32(sin))
		}
	}
}

func (p *Pass) tile() {
	r := p.Linears.Rank
	p.Weights = p.Weights[:0]
	if r == 0 {
		return
	}
	for _, row := range p.Batch.Rows {
		all := make([]float32, 0, 3*r)
		for range 3 {
			all = append(all, row[:r]...)
		}
		p.Weights = append(p.Weights, all)
	}
}

// RowWeights is the row weights of a token's tree, repeated for three kinds.
func (p *Pass) RowWeights(token int) []float32 { return p.Weights[p.Batch.Tree[token]] }

func (p *Pass) layer(l int, s *State, out []float32) {
	w := p.Linears.Weights
	c := w.Config
	y := &w.Layers[l]
	g := &p.Linears.Layers[l]
	n, r := len(p.Batch.Tokens), p.Linears.Rank

	p.x = Grow(p.x, n*c.Dim)
	p.Norm(p.x, s.In, y.AttnNorm)
	qkv := &g[InQKV]
	p.y = Grow(p.y, n*qkv.Stride())
	qkv.forward(p.team, c, n, p.x, p.y, p.RowWeights)
	p.split(s, y, qkv)
	p.attend(s)

	in, weights := s.In, p.RowWeights
	if s.Only != nil {
		n = len(s.Only)
		gather(s.O, s.O, c.Heads*c.HeadDim, s.Only)
		s.O = s.O[:n*c.Heads*c.HeadDim]
		gather(p.x, s.In, c.Dim, s.Only)
		in, out = p.x[:n*c.Dim], out[:n*c.Dim]
		weights = func(i int) []float32 { return p.RowWeights(s.Only[i]) }
	}
	o := &g[InO]
	p.y = Grow(p.y, n*o.Stride())
	o.forward(p.team, c, n, s.O, p.y, weights)
	s.Mid, s.ZO = Grow(s.Mid, n*c.Dim), Grow(s.ZO, n*r)
	p.residual(s.Mid, in, s.ZO, o)

	p.x = p.x[:n*c.Dim]
	p.Norm(p.x, s.Mid, y.FFNNorm)
	gu := &g[InGateUp]
	s.GateUp = Grow(s.GateUp, n*gu.Stride())
	gu.forward(p.team, c, n, p.x, s.GateUp, weights)
	p.act = Grow(p.act, n*c.FF)
	p.Activate(p.act, s.GateUp, gu.Stride())

	down := &g[InDown]
	p.y = Grow(p.y, n*down.Stride())
	down.forward(p.team, c, n, p.act, p.y, weights)
	s.ZFF = Grow(s.ZFF, n*r)
	p.residual(out, s.Mid, s.ZFF, down)
}

// Norm writes the RMSNorm of each row of x (n x Dim) with gains w to dst.
func (p *Pass) Norm(dst, x, w []float32) {
	c := p.Linears.Weights.Config
	d := c.Dim
	p.team.For(len(x)/d, 16, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			kernel.RMSNorm(dst[i*d:(i+1)*d], x[i*d:(i+1)*d], w, float32(c.Eps))
		}
	})
}

// Activate writes silu(gate)*up of each row of gu (n x stride: gate, up, ...) to dst (n x FF).
func (p *Pass) Activate(dst, gu []float32, stride int) {
	ff := p.Linears.Weights.Config.FF
	p.team.For(len(gu)/stride, 8, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row := gu[i*stride:]
			kernel.SiLUMul(dst[i*ff:(i+1)*ff], row[:ff], row[ff:2*ff])
		}
	})
}

// residual takes the product in p.y apart: dst = in + output, z as it is.
func (p *Pass) residual(dst, in, z []float32, g *Group) {
	d, ld, r := g.Out, g.Stride(), g.Rank
	p.team.For(len(dst)/d, 16, func(lo, hi int) {
		copy(dst[lo*d:hi*d], in[lo*d:hi*d])
		for i := lo; i < hi; i++ {
			kernel.Add(dst[i*d:(i+1)*d], p.y[i*ld:i*ld+d])
			copy(z[i*r:(i+1)*r], p.y[i*ld+d:(i+1)*ld])
		}
	})
}

// split takes the product of q, k, v in p.y apart: biases, rotation, and a
// layout with each key head's tokens together.
func (p *Pass) split(s *State, y *Layer, g *Group) {
	c := p.Linears.Weights.Config
	n, r, ld := len(p.Batch.Tokens), g.Rank, g.Stride()
	hd, rep := c.HeadDim, c.Heads/c.KVHeads
	half := hd / 2
	qd, kd := c.Heads*hd, c.KVHeads*hd
	s.Q, s.K, s.V = Grow(s.Q, n*qd), Grow(s.K, n*kd), Grow(s.V, n*kd)
	s.ZQKV = Grow(s.ZQKV, n*3*r)
	p.team.For(n, 16, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row := p.y[i*ld : (i+1)*ld]
			at := 0
			for k := arch.Q; k <= arch.V; k++ {
				out, _ := c.Shape(k)
				if y.Bias[k] != nil {
					kernel.Add(row[at:at+out], y.Bias[k])
				}
				at += out
			}
			pos := p.Batch.Position[i]
			cos, sin := p.Cos[pos*half:(pos+1)*half], p.Sin[pos*half:(pos+1)*half]
			for h := range c.KVHeads {
				q := s.Q[(h*n+i)*rep*hd : (h*n+i+1)*rep*hd]
				copy(q, row[h*rep*hd:])
				for j := range rep {
					kernel.Rope(q[j*hd:(j+1)*hd], cos, sin, c.RopeHalves)
				}
				k := s.K[(h*n+i)*hd : (h*n+i+1)*hd]
				copy(k, row[qd+h*hd:])
				kernel.Rope(k, cos, sin, c.RopeHalves)
				copy(s.V[(h*n+i)*hd:(h*n+i+1)*hd], row[qd+kd+h*hd:])
			}
			copy(s.ZQKV[i*3*r:(i+1)*3*r], row[g.Out:])
		}
	})
}
