//go:build linux && (amd64 || arm64)

package cuda

import (
	"math"

	"crayon/internal/arch"
	nv "crayon/internal/cuda"
	"crayon/internal/reference"
)

// state is what a layer leaves behind for its reverse, n tokens of each.
type state struct {
	in, mid nv.Ptr // Dim, float32: the residual that enters, and after attention
	x       nv.Ptr // Dim + side: normed input of q, k, v; weighted low-rank values
	qkv     nv.Ptr // rotated
	o       nv.Ptr // Heads*HeadDim + side: out of attention; low-rank values
	lse     nv.Ptr // Heads, float32
	x2      nv.Ptr // Dim + side: normed input of gate and up; low-rank values
	gu      nv.Ptr // 2 FF
	act     nv.Ptr // FF + side: input of down; low-rank values
}

// pass is the buffers to run batches of up to tokens tokens through the layers.
type pass struct {
	room    sizes
	rank    int // padded
	reverse bool
	states  []state
	out     nv.Ptr // Dim, float32: the residual after the last layer
	y       nv.Ptr // Dim: a product before it is added
	own     []nv.Ptr

	// Positions that predict.
	x, dx          nv.Ptr // Dim: normed, and float32: its gradient
	logits, dlogit nv.Ptr // chunk x ldLogits, float32 and bfloat16
	lse            nv.Ptr // float32
	logprob        nv.Ptr // a target, float32
	scores, slopes nv.Ptr // an answer, float64 and float32
	losses         nv.Ptr // three an example, float64

	// Gradients.
	dr   nv.Ptr // Dim, float32: of the residual
	dres nv.Ptr // Dim + side: the same for products; of low-rank values
	dact nv.Ptr // FF
	dgu  nv.Ptr // 2 FF + side
	din  nv.Ptr // Dim: of a normed input
	do   nv.Ptr // Heads*HeadDim
	dqkv nv.Ptr // q, k, v, side
	dot  nv.Ptr // Heads, float32
}

// tokenBytes is about what a pass takes a token.
func tokenBytes(c arch.Config, rank int, reverse bool) int {
	all := groups(c)
	qd := c.Heads * c.HeadDim
	layer := 2*four*c.Dim + two*(all[reference.InQKV].out+qd+2*c.Dim+3*c.FF+7*rank) + four*c.Heads
	n := layer + four*c.Dim + two*c.Dim
	if reverse {
		n += layer * (c.Layers - 1)
		n += four*c.Dim + two*(2*c.Dim+3*c.FF+qd+all[reference.InQKV].out+6*rank) + four*c.Heads
	}
	return n
}

// sizes are what a pass must have room for: the most tokens, positions that
// predict in all and at once, targets, answers and examples of a batch.
type sizes struct{ tokens, rows, chunk, targets, answers, examples int }

func (s sizes) most(o sizes) sizes {
	return sizes{max(s.tokens, o.tokens), max(s.rows, o.rows), max(s.chunk, o.chunk), max(s.targets, o.targets), max(s.answers, o.answers), max(s.examples, o.examples)}
}

func (s sizes) with(b *batch) sizes {
	s = s.most(sizes{b.tokens, b.rows, 0, b.targets, b.answers, b.examples})
	for _, k := range b.chunks {
		s.chunk = max(s.chunk, k.rows)
	}
	return s
}

func (s sizes) fits(o sizes) bool {
	return s.tokens <= o.tokens && s.rows <= o.rows && s.chunk <= o.chunk && s.targets <= o.targets && s.answers <= o.answers && s.examples <= o.examples
}

// ldLogits is the values from one row of logits to the next.
func ldLogits(c arch.Config) int { return (c.Vocab + 7) / 8 * 8 }

// newPass takes the buffers. Without reverse all layers share one state.
func (r *replica) newPass(s sizes, rank int, reverse bool) (*pass, error) {
	c := r.config
	p := &pass{room: s, rank: rank, reverse: reverse}
	var err error
	take := func(n, width, size int) nv.Ptr {
		if err != nil {
			return 0
		}
		var q nv.Ptr
		if q, err = r.take(n*width, size); err == nil && q != 0 {
			p.own = append(p.own, q)
		}
		return q
	}
	n, all := s.tokens, groups(c)
	qd := c.Heads * c.HeadDim
	layers := 1
	if reverse {
		layers = c.Layers
	}
	for range layers {
		x := state{
			in: take(n, c.Dim, four), x: take(n, c.Dim+3*rank, two), qkv: take(n, all[reference.InQKV].out, two), o: take(n, qd+rank, two),
			lse: take(n, c.Heads, four), x2: take(n, c.Dim+2*rank, two), gu: take(n, 2*c.FF, two), act: take(n, c.FF+rank, two),
		}
		x.mid = x.in
		if reverse {
			x.mid = take(n, c.Dim, four)
		}
		p.states = append(p.states, x)
	}
	p.y = take(n, c.Dim, two)
	p.out = p.states[0].in
	ld := ldLogits(c)
	p.x, p.logits, p.lse, p.logprob = take(s.rows, c.Dim, two), take(s.chunk, ld, four), take(s.rows, 1, four), take(s.targets, 1, four)
	if reverse {
		p.out = take(n, c.Dim, four)
		p.dx, p.dlogit = take(s.rows, c.Dim, four), take(s.chunk, ld, two)
		p.scores, p.slopes, p.losses = take(s.answers, 1, 8), take(s.answers, 1, four), take(s.examples, 3, 8)
		p.dr, p.dres, p.dact, p.dgu = take(n, c.Dim, four), take(n, c.Dim+rank, two), take(n, c.FF, two), take(n, 2*c.FF+2*rank, two)
		p.din, p.do, p.dqkv, p.dot = take(n, c.Dim, two), take(n, qd, two), take(n, all[reference.InQKV].out+3*rank, two), take(n, c.Heads, four)
	}
	return p, err
}

func (r *replica) drop(p *pass) error {
	if p == nil {
		return nil
	}
	for _, x := range p.own {
		if err := r.give(x); err != nil {
			return err
		}
	}
	return nil
}

// angles readies the rotary tables for positions below n.
func (r *replica) angles(n int) error {
	if n <= r.positions {
		return nil
	}
	n = max(n, 512)
	c := r.config
	half := c.HeadDim / 2
	cos, sin := make([]float32, n*half), make([]float32, n*half)
	for pos := range n {
		for i := range half {
			s, k := math.Sincos(float64(pos) * math.Pow(c.RopeBase, -2*float64(i)/float64(c.HeadDim)))
			cos[pos*half+i], sin[pos*half+i] = float32(k), float32(s)
		}
	}
	if err := r.give(r.cos); err != nil {
		return err
	}
	if err := r.give(r.sin); err != nil {
		return err
	}
	var err error
	if r.cos, err = upload(r, cos, four); err != nil {
		return err
	}
	if r.sin, err = upload(r, sin, four); err != nil {
		return err
	}
	r.positions = n
	return nil
}

// forward runs the batch through the first `layers` layers; the residual after
// them is in p.out.
func (r *replica) forward(p *pass, w *binding, b *batch, layers int) error {
	c := r.config
	n := b.tokens
	if err := r.angles(b.longest); err != nil {
		return err
	}
	first := p.states[0].in
	if layers == 0 {
		first = p.out
	}
	if err := r.launch("embed", 32*n, b.at(fieldToken, 0), r.base.embed, first, int32(n)); err != nil {
		return err
	}
	if layers == 0 {
		return nil
	}
	rank := p.rank
	s := &p.states[0]
	if err := r.launch("add_norm", 32*n, s.in, nv.Ptr(0), nv.Ptr(0), r.base.layers[0].attnNorm, s.x, int32(c.Dim+3*rank), int32(n)); err != nil {
		return err
	}
	for l := range layers {
		if p.reverse {
			s = &p.states[l]
		}
		next, out, gain := p.out, nv.Ptr(0), nv.Ptr(0) // where the layer's residual goes, and its norm
		if l+1 < layers {
			t := s
			if p.reverse {
				t = &p.states[l+1]
			}
			next, out, gain = t.in, t.x, r.base.layers[l+1].attnNorm
		}
		if err := r.layer(p, w, b, l, s); err != nil {
			return err
		}
		if err := r.launch("add_norm", 32*n, s.mid, p.y, next, gain, out, int32(c.Dim+3*rank), int32(n)); err != nil {
			return err
		}
	}
	return nil
}

// layer computes one layer up to the product of down, which is left in p.y.
func (r *replica) layer(p *pass, w *binding, b *batch, l int, s *state) error {
	c := r.config
	n, rank, qd := b.tokens, p.rank, c.Heads*c.HeadDim
	y, g := &r.base.layers[l], &w.layers[l]
	if err := r.linear(p, b, reference.InQKV, g, s.x, s.qkv); err != nil {
		return err
	}
	if err := r.launch("rotate", n*(qd+2*c.KVHeads*c.HeadDim)/16, s.qkv, y.bias, b.at(fieldPosition, 0), r.cos, r.sin, int32(n)); err != nil {
		return err
	}
	if err := r.grid("attend", [3]uint32{uint32(b.tiles), uint32(c.KVHeads), 1}, 128, s.qkv, b.at(fieldTiles, 0), b.at(fieldShared, 0), b.at(fieldOwn, 0), s.o, int32(qd+rank), s.lse); err != nil {
		return err
	}
	if err := r.linear(p, b, reference.InO, g, s.o, p.y); err != nil {
		return err
	}
	if err := r.launch("add_norm", 32*n, s.in, p.y, s.mid, y.ffnNorm, s.x2, int32(c.Dim+2*rank), int32(n)); err != nil {
		return err
	}
	if err := r.linear(p, b, reference.InGateUp, g, s.x2, s.gu); err != nil {
		return err
	}
	if err := r.launch("activate", n*c.FF/8, s.gu, s.act, int32(c.FF+rank), int32(n)); err != nil {
		return err
	}
	return r.linear(p, b, reference.InDown, g, s.act, p.y)
}

var groupNames = [reference.Groups]string{"qkv", "o", "gate up", "down"}

// linear computes a group: of x (rows of in + side) z = weights * (A x) into
// the columns beside it, then y (n x out) = W x + B z in one product.
func (r *replica) linear(p *pass, b *batch, which int, layer *[reference.Groups]bound, x, y nv.Ptr) error {
	g := groups(r.config)[which]
	side := g.side(p.rank)
	ld := g.in + side
	if side > 0 {
		z := at(x, g.in, two)
		err := r.gemm("A "+groupNames[which], nv.Gemm{TransB: true, M: b.tokens, N: side, K: g.in, Alpha: 1, A: x, LDA: ld, B: layer[which].low, C: z, LDC: ld, TypeA: nv.BF16, TypeB: nv.BF16, TypeC: nv.BF16})
		if err != nil {
			return err
		}
		if err := r.weigh(p, b, z, ld, side); err != nil {
			return err
		}
	}
	return r.gemm("W "+groupNames[which], nv.Gemm{TransB: true, M: b.tokens, N: g.out, K: ld, Alpha: 1, A: x, B: layer[which].both, C: y, TypeA: nv.BF16, TypeB: nv.BF16, TypeC: nv.BF16})
}

// weigh multiplies low-rank values by the weights of each token's tree.
func (r *replica) weigh(p *pass, b *batch, z nv.Ptr, ld, side int) error {
	return r.launch("weigh", b.tokens*side/8, z, int32(ld), int32(side), int32(p.rank), b.at(fieldTree, 0), b.at(fieldWeights, 0), int32(b.tokens))
}

// predict computes the log-probabilities of a chunk's targets, the logits being
// left in p.logits. Of the first chunk it norms all rows.
func (r *replica) predict(p *pass, b *batch, k chunk) error {
	c := r.config
	ld := ldLogits(c)
	if k.row == 0 {
		if err := r.launch("pick_norm", 32*b.rows, p.out, b.at(fieldRows, 0), r.base.outNorm, p.x, int32(b.rows)); err != nil {
			return err
		}
	}
	err := r.gemm("head", nv.Gemm{TransB: true, M: k.rows, N: c.Vocab, K: c.Dim, Alpha: 1, A: at(p.x, k.row*c.Dim, two), B: r.base.head, C: p.logits, LDC: ld, TypeA: nv.BF16, TypeB: nv.BF16, TypeC: nv.F32})
	if err != nil {
		return err
	}
	lse := at(p.lse, k.row, four)
	if err := r.grid("row_lse", [3]uint32{uint32(k.rows), 1, 1}, 256, p.logits, int32(ld), lse); err != nil {
		return err
	}
	return r.launch("target_logprob", k.targets, p.logits, int32(ld), lse, b.at(fieldTargetRow, k.target), b.at(fieldTargetID, k.target), int32(k.row), at(p.logprob, k.target, four), int32(k.targets))
}
