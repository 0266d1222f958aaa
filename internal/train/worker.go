package train

import (
	"math"

	"crayon/internal/arch"
	"crayon/internal/kernel"
	"crayon/internal/reference"
)

// Tally is what a micro-batch or a step reports, summed over its examples.
type Tally struct {
	Loss          float64 // mean over the step's examples
	Ranked, Right int     // examples with two answers or more; of these, right answer first
}

// worker computes micro-batches on one goroutine, in buffers of its own.
type worker struct {
	config Config
	params *Params
	model  *reference.Linears
	pass   *reference.Pass
	lowest int       // the layer at which the reverse pass ends
	learn  *learning // what is wanted in place of the gradients of params; nil: those

	residual []float32 // n x Dim: gradient of the residual
	out      []float32 // gradient of a group's product, n x Stride
	in       []float32 // gradient of a group's input
	x        []float32 // a group's input, computed again
	wide     []float32 // gradient of attention's output, where only some tokens' is not zero
	spare    []float32 // to swap with residual
	head     head
	attn     attention
}

func newWorker(c Config, p *Params, l *reference.Linears) *worker {
	return &worker{config: c, params: p, model: l, pass: reference.NewPass(l, nil, true)}
}

// run computes the tasks' loss, each example's times share, and writes its
// gradient to grad, laid out as Params.Values. stop ends it early, leaving
// grad unfinished.
func (w *worker) run(tasks []Task, share float64, grad []float32, stop func() bool) (Tally, error) {
	trees := make([]reference.Branches, len(tasks))
	rows := make([][]float32, len(tasks))
	for i, t := range tasks {
		trees[i], rows[i] = t.Tree, t.Row
	}
	c := w.model.Weights.Config
	batch, err := reference.NewBatch(c.Vocab, trees, rows)
	if err != nil {
		return Tally{}, err
	}
	w.head.rows = w.head.rows[:0]
	for i, t := range tasks {
		w.head.add(batch, i, t)
	}
	w.pass.Run(batch, c.Layers, w.head.rows)
	w.residual = reference.Grow(w.residual, len(w.pass.Out))
	clear(w.residual)
	sum := w.lossAndHead(tasks, share)
	for l := c.Layers - 1; l >= 0 && !stop(); l-- {
		w.layer(l, grad)
	}
	return sum, nil
}

// layer turns the gradient of the residual after layer l into that before it
// (but for the lowest, below which nothing is wanted), and writes the gradients of the
// layer's As and Bs.
func (w *worker) layer(l int, grad []float32) {
	c := w.model.Weights.Config
	y := &w.model.Weights.Layers[l]
	s := &w.pass.States[l]
	g := &w.model.Layers[l]
	d, ff := c.Dim, c.FF
	n := len(s.Mid) / d

	// The feed-forward half: mid + down(silu(gate(x)) * up(x)), x = norm(mid).
	down, gu := &g[reference.InDown], &g[reference.InGateUp]
	w.x = reference.Grow(w.x, n*max(d, ff))
	act := w.x[:n*ff]
	w.pass.Activate(act, s.GateUp, gu.Stride())
	w.in = reference.Grow(w.in, n*max(d, ff, c.Heads*c.HeadDim))
	w.spread(down)
	dAct := w.in[:n*ff]
	w.group(l, down, s.Only, s.ZFF, down.Rank, act, grad, dAct)

	w.out = reference.Grow(w.out, n*gu.Stride())
	ld := gu.Stride()
	for i := range n {
		from, to := s.GateUp[i*ld:], w.out[i*ld:]
		siluMulGrad(to[:ff], to[ff:2*ff], from[:ff], from[ff:2*ff], dAct[i*ff:(i+1)*ff])
	}
	x := w.x[:n*d]
	w.pass.Norm(x, s.Mid, y.FFNNorm)
	w.group(l, gu, s.Only, s.GateUp[gu.Out:], ld, x, grad, w.in[:n*d])
	w.normGrad(s.Mid, y.FFNNorm)

	// The attention half: in + o(attention(q, k, v of x)), x = norm(in).
	o, qkv := &g[reference.InO], &g[reference.InQKV]
	w.spread(o)
	dO := w.in[:n*o.In]
	w.group(l, o, s.Only, s.ZO, o.Rank, s.O, grad, dO)
	if s.Only != nil {
		n = len(w.pass.Batch.Tokens)
		w.wide = scatter(w.wide, dO, o.In, s.Only, n)
		dO = w.wide
		w.in, w.x = reference.Grow(w.in, n*d), reference.Grow(w.x, n*d)
		x = w.x
		all := scatter(w.spare, w.residual, d, s.Only, n)
		w.residual, w.spare = all, w.residual
	}
	w.out = reference.Grow(w.out, n*qkv.Stride())
	w.attn.reverse(w.pass, s, dO, w.out, qkv.Stride())
	w.pass.Norm(x, s.In, y.AttnNorm)
	if l == w.lowest {
		w.group(l, qkv, nil, s.ZQKV, 3*qkv.Rank, x, grad, nil)
		return
	}
	w.group(l, qkv, nil, s.ZQKV, 3*qkv.Rank, x, grad, w.in[:n*d])
	w.normGrad(s.In, y.AttnNorm)
}

// spread copies the residual's gradient to the columns of w.out that are the
// group's output.
func (w *worker) spread(g *reference.Group) {
	d, ld := g.Out, g.Stride()
	n := len(w.residual) / d
	w.out = reference.Grow(w.out, n*ld)
	for i := range n {
		copy(w.out[i*ld:i*ld+d], w.residual[i*d:(i+1)*d])
	}
}

// group reverses one group, for the tokens in only (nil: all). The gradient of its outputs is in w.out; z are the
// weighted low-rank values of the forward pass, rows of ldz; x is the input.
// It writes the gradients of the As and Bs to grad, and that of x to dx (nil:
// not wanted).
func (w *worker) group(l int, g *reference.Group, only []int, z []float32, ldz int, x, grad, dx []float32) {
	if w.learn != nil {
		w.learn.group(w, l, g, only, z, ldz, x, dx)
		return
	}
	c := w.model.Weights.Config
	ld, r := g.Stride(), g.Rank
	n := len(w.out) / ld
	at, col := 0, 0
	for k := g.First; k <= g.Last; k++ {
		out, _ := c.Shape(k)
		slot := arch.SlotOf(l, k)
		dy := w.out[at:]
		kernel.Gemm(nil, false, false, n, r, out, 1, dy, ld, g.B[k], r, 0, w.out[g.Out+col:], ld)
		kernel.Gemm(nil, true, false, out, r, n, 1, dy, ld, z[col:], ldz, 0, grad[w.params.offsetB(slot):], r)
		at, col = at+out, col+r
	}
	for i := range n {
		token := i
		if only != nil {
			token = only[i]
		}
		dz := w.out[i*ld+g.Out : (i+1)*ld]
		kernel.Mul(dz, dz, w.pass.RowWeights(token)[:len(dz)])
	}
	first := w.params.offsetA(arch.SlotOf(l, g.First))
	kernel.Gemm(nil, true, false, g.Kinds()*r, g.In, n, 1, w.out[g.Out:], ld, x, g.In, 0, grad[first:], g.In)
	if dx != nil {
		kernel.Gemm(nil, false, false, n, g.In, ld, 1, w.out, ld, g.M, g.In, 0, dx, g.In)
	}
}

// normGrad adds to the residual's gradient what w.in, the gradient of the
// RMSNorm of rows x with gains, passes on: with r = 1/sqrt(mean x^2 + eps) and
// t = gains * dy, dx = r t - x (t.x) r^3/Dim. It uses up w.in.
func (w *worker) normGrad(x, gains []float32) {
	c := w.model.Weights.Config
	d := c.Dim
	for i := range len(x) / d {
		row, t, to := x[i*d:(i+1)*d], w.in[i*d:(i+1)*d], w.residual[i*d:(i+1)*d]
		normRow(to, t, row, gains, c.Eps)
	}
}

func normRow(to, t, x, gains []float32, eps float32) {
	d := float64(len(x))
	r := 1 / math.Sqrt(float64(kernel.Dot(x, x))/d+float64(eps))
	kernel.Mul(t, t, gains)
	s := float64(kernel.Dot(t, x)) * r * r * r / d
	kernel.Axpy(float32(r), t, to)
	kernel.Axpy(float32(-s), x, to)
}

// scatter returns n rows of width, in dst if it is large enough: x's rows at
// the places named, zero elsewhere.
func scatter(dst, x []float32, width int, rows []int, n int) []float32 {
	dst = reference.Grow(dst, n*width)
	clear(dst)
	for i, at := range rows {
		copy(dst[at*width:(at+1)*width], x[i*width:(i+1)*width])
	}
	return dst
}

// siluMulGrad writes the gradients of y = silu(gate) * up for the gradient dy of y.
func siluMulGrad(dGate, dUp, gate, up, dy []float32) {
	n := len(dy)
	dGate, dUp, gate, up = dGate[:n], dUp[:n], gate[:n], up[:n]
	for i, x := range gate {
		dGate[i] = -x
	}
	kernel.Exp(dGate, dGate)
	for i, x := range gate {
		s := 1 / (1 + dGate[i])
		silu := x * s
		dUp[i] = dy[i] * silu
		dGate[i] = dy[i] * up[i] * (s + silu*(1-s))
	}
}
