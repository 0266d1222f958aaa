//go:build linux && (amd64 || arm64)

package cuda

import (
	"hash/maphash"
	"unsafe"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	nv "crayon/internal/cuda"
	"crayon/internal/reference"
)

// weights are the frozen model: matrices in bfloat16, the rest in float32.
type weights struct {
	embed   nv.Ptr // Vocab x Dim, float32
	head    nv.Ptr // Vocab x Dim
	outNorm nv.Ptr
	layers  []layer
}

type layer struct {
	attnNorm, ffnNorm nv.Ptr
	bias              nv.Ptr // of q, k and v; 0: none
	w                 [reference.Groups]nv.Ptr
}

// group is the linear layers of one block that read the same input.
type group struct {
	first, last arch.Kind
	in, out     int
}

func groups(c arch.Config) [reference.Groups]group {
	g := [reference.Groups]group{
		reference.InQKV: {first: arch.Q, last: arch.V}, reference.InO: {first: arch.O, last: arch.O},
		reference.InGateUp: {first: arch.Gate, last: arch.Up}, reference.InDown: {first: arch.Down, last: arch.Down},
	}
	for i := range g {
		for k := g[i].first; k <= g[i].last; k++ {
			var out int
			out, g[i].in = c.Shape(k)
			g[i].out += out
		}
	}
	return g
}

// side is the width of the low-rank values beside the group, of a padded rank.
func (g group) side(rank int) int { return (int(g.last-g.first) + 1) * rank }

// load copies the model to the GPU.
func (r *replica) load(w *reference.Weights) error {
	c := r.config
	largest := 0
	for k := range arch.Kinds {
		out, in := c.Shape(k)
		largest = max(largest, out*in)
	}
	stage, err := r.take(max(largest, c.Vocab*c.Dim), four)
	if err != nil {
		return err
	}
	defer func() { err = r.give(stage) }()
	// round copies x to p in bfloat16.
	round := func(p nv.Ptr, x []float32, columns int) error {
		if err := nv.Upload(r.stream, stage, x); err != nil {
			return err
		}
		if err := r.lay("lay_floats", []job{{stage, columns, len(x) / columns, p, columns}}); err != nil {
			return err
		}
		return r.stream.Wait() // the stage is free again
	}
	if r.base.embed, err = upload(r, w.Embed, four); err != nil {
		return err
	}
	if r.base.head, err = r.take(c.Vocab*c.Dim, two); err != nil {
		return err
	}
	if err := round(r.base.head, w.Head, c.Dim); err != nil {
		return err
	}
	if r.base.outNorm, err = upload(r, w.OutNorm, four); err != nil {
		return err
	}
	r.base.layers = make([]layer, c.Layers)
	all := groups(c)
	for i := range r.base.layers {
		from, to := &w.Layers[i], &r.base.layers[i]
		if to.attnNorm, err = upload(r, from.AttnNorm, four); err != nil {
			return err
		}
		if to.ffnNorm, err = upload(r, from.FFNNorm, four); err != nil {
			return err
		}
		if c.QKVBias {
			var bias []float32
			for k := arch.Q; k <= arch.V; k++ {
				bias = append(bias, from.Bias[k]...)
			}
			if to.bias, err = upload(r, bias, four); err != nil {
				return err
			}
		}
		for j, g := range all {
			if to.w[j], err = r.take(g.out*g.in, two); err != nil {
				return err
			}
			p := to.w[j]
			for k := g.first; k <= g.last; k++ {
				if err := round(p, from.W[k], g.in); err != nil {
					return err
				}
				p = at(p, len(from.W[k]), two)
			}
		}
	}
	return err
}

// job is a matrix to be copied: columns x rows values at from, to rows ld apart.
type job struct {
	from          nv.Ptr
	columns, rows int
	to            nv.Ptr
	ld            int
}

// jobs are jobs on the GPU.
type jobs struct {
	list  nv.Ptr
	count int
}

func (r *replica) prepare(list []job) (jobs, error) {
	flat := make([]uint64, 0, 5*len(list))
	for _, j := range list {
		flat = append(flat, uint64(j.from), uint64(j.columns), uint64(j.rows), uint64(j.to), uint64(j.ld))
	}
	p, err := upload(r, flat, 8)
	return jobs{p, len(list)}, err
}

// copiers is how many blocks share a matrix.
const copiers = 32

func (r *replica) copies(kernel string, j jobs) error {
	if j.count == 0 {
		return nil
	}
	return r.grid(kernel, [3]uint32{copiers, uint32(j.count), 1}, 256, j.list)
}

// lay does jobs once.
func (r *replica) lay(kernel string, list []job) error {
	j, err := r.prepare(list)
	if err != nil {
		return err
	}
	if err := r.copies(kernel, j); err != nil {
		return err
	}
	if err := r.stream.Wait(); err != nil {
		return err
	}
	return r.give(j.list)
}

// binding is the model's matrices with a side path beside them. Its rank is
// padded with zeros to a multiple of 8, so that rows stay aligned.
type binding struct {
	rank   int // 0: the bare model
	layers [][reference.Groups]bound
	own    []nv.Ptr
}

// bound is one group's matrices.
type bound struct {
	both nv.Ptr // out x (in + side): W and, beside it, each kind's B in its own rows and columns
	low  nv.Ptr // side x in: the As
	down nv.Ptr // (out + side) x in: W and the As below it; 0 where nothing is reversed
}

// padded is a stacked rank as bindings have it.
func padded(rank int) int { return (rank + 7) / 8 * 8 }

// bare is the model without a side path.
func (r *replica) bare() *binding {
	b := &binding{layers: make([][reference.Groups]bound, r.config.Layers)}
	for i := range b.layers {
		for j := range b.layers[i] {
			b.layers[i][j].both = r.base.layers[i].w[j]
		}
	}
	return b
}

// bind lays out matrices for a side path of a padded rank, its As and Bs zero.
func (r *replica) bind(rank int, reverse bool) (*binding, error) {
	b := &binding{rank: rank, layers: make([][reference.Groups]bound, r.config.Layers)}
	take := func(n int) (nv.Ptr, error) {
		p, err := r.take(n, two)
		if err != nil {
			return 0, err
		}
		b.own = append(b.own, p)
		return p, r.stream.Zero(p, uint64(n*two))
	}
	var list []job
	all := groups(r.config)
	for i := range b.layers {
		for j, g := range all {
			x := &b.layers[i][j]
			w, side := r.base.layers[i].w[j], g.side(rank)
			var err error
			if x.both, err = take(g.out * (g.in + side)); err != nil {
				return nil, err
			}
			list = append(list, job{w, g.in, g.out, x.both, g.in + side})
			if !reverse {
				if x.low, err = take(side * g.in); err != nil {
					return nil, err
				}
				continue
			}
			if x.down, err = take((g.out + side) * g.in); err != nil {
				return nil, err
			}
			x.low = at(x.down, g.out*g.in, two)
			list = append(list, job{w, g.in, g.out, x.down, g.in})
		}
	}
	return b, r.lay("lay_bf16", list)
}

// sides are the jobs that carry parameters, laid out as params has it, into the
// binding.
func (r *replica) sides(b *binding, p params, values nv.Ptr) []job {
	var list []job
	all := groups(r.config)
	for i := range b.layers {
		for j, g := range all {
			x := b.layers[i][j]
			list = append(list, job{at(values, p.a[i][g.first], four), g.in, g.side(b.rank), x.low, g.in})
			row, col := 0, g.in
			for k := g.first; k <= g.last; k++ {
				out, _ := r.config.Shape(k)
				ld := g.in + g.side(b.rank)
				list = append(list, job{at(values, p.b[i][k], four), b.rank, out, at(x.both, row*ld+col, two), ld})
				row, col = row+out, col+b.rank
			}
		}
	}
	return list
}

func (r *replica) unbind(b *binding) error {
	for _, p := range b.own {
		if err := r.give(p); err != nil {
			return err
		}
	}
	return nil
}

// params is where the values of each slot lie among all, of a padded rank: in
// the order of train.Params.
type params struct {
	rank int
	a, b [][arch.Kinds]int
	size int
}

func newParams(c arch.Config, rank int) params {
	p := params{rank: rank, a: make([][arch.Kinds]int, c.Layers), b: make([][arch.Kinds]int, c.Layers)}
	for i := range c.Layers {
		for k := range arch.Kinds {
			_, in := c.Shape(k)
			p.a[i][k] = p.size
			p.size += in * rank
		}
		for k := range arch.Kinds {
			out, _ := c.Shape(k)
			p.b[i][k] = p.size
			p.size += out * rank
		}
	}
	return p
}

// pad copies values of the stacked rank own, laid out as train.Params, to the
// padded layout; strip copies them back.
func (p params) pad(c arch.Config, to, from []float32, own int) {
	p.each(c, own, func(padded, plain, n int) { copy(to[padded:padded+n], from[plain:plain+n]) })
}

func (p params) strip(c arch.Config, to, from []float32, own int) {
	p.each(c, own, func(padded, plain, n int) { copy(to[plain:plain+n], from[padded:padded+n]) })
}

// each calls f for every run of values: where it is in the padded layout and in
// the plain one, and how long.
func (p params) each(c arch.Config, own int, f func(padded, plain, n int)) {
	at := 0
	for i := range c.Layers {
		for k := range arch.Kinds {
			_, in := c.Shape(k)
			f(p.a[i][k], at, in*own)
			at += in * own
		}
		for k := range arch.Kinds {
			out, _ := c.Shape(k)
			for o := range out {
				f(p.b[i][k]+o*p.rank, at, own)
				at += own
			}
		}
	}
}

var seed = maphash.MakeSeed()

// stackDigest tells stacks apart.
func stackDigest(s *adapter.Stack) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	write := func(slot arch.Slot, x []float32) {
		h.WriteByte(byte(slot))
		h.WriteByte(byte(slot >> 8))
		if len(x) > 0 {
			h.Write(unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), four*len(x)))
		}
	}
	for slot, p := range s.All() {
		write(slot, p.A)
		write(slot, p.B)
	}
	maphash.WriteComparable(&h, s.Rank)
	return h.Sum64()
}

// bindStack is the binding of a stack, kept until another comes.
func (r *replica) bindStack(s *adapter.Stack) (*binding, error) {
	if s == nil || s.Rank == 0 {
		return r.bare(), nil
	}
	digest := stackDigest(s)
	if r.bound != nil && r.digest == digest {
		return r.bound, nil
	}
	if r.bound != nil {
		if err := r.unbind(r.bound); err != nil {
			return nil, err
		}
		r.bound = nil
	}
	b, err := r.bind(padded(s.Rank), false)
	if err != nil {
		return nil, err
	}
	c := r.config
	p := newParams(c, b.rank)
	values := make([]float32, p.size)
	for i := range c.Layers {
		for k := range arch.Kinds {
			pair := s.Pair(arch.SlotOf(i, k))
			if pair == nil {
				continue
			}
			out, in := c.Shape(k)
			copy(values[p.a[i][k]:], pair.A[:s.Rank*in])
			for o := range out {
				copy(values[p.b[i][k]+o*b.rank:], pair.B[o*s.Rank:(o+1)*s.Rank])
			}
		}
	}
	from, err := upload(r, values, four)
	if err != nil {
		return nil, err
	}
	if err := r.lay("lay_floats", r.sides(b, p, from)); err != nil {
		return nil, err
	}
	if err := r.give(from); err != nil {
		return nil, err
	}
	r.bound, r.digest = b, digest
	return b, nil
}
