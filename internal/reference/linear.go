package reference

import (
	"fmt"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/kernel"
)

// Groups of linear layers that read the same input, and so are one product.
const (
	InQKV = iota
	InO
	InGateUp
	InDown
	Groups
)

// Group is the linear layers of one block with a common input, their weights
// stacked, and the low-rank path beside them. The product of n inputs is
// n x Stride: the outputs of each kind, then Rank columns of z = A x a kind.
type Group struct {
	First, Last arch.Kind
	In, Out     int                   // width of the input; sum of the kinds' outputs
	Rank        int                   // stacked ranks a kind, 0 without a side path
	M           []float32             // (Out or Stride) x In: the weights and, where fused, each kind's A below them
	A, B        [arch.Kinds][]float32 // Rank x In and Out x Rank of each kind; nil where it has no side path
	Fused       bool                  // M holds the As as well
}

// Kinds is how many linear layers the group has.
func (g *Group) Kinds() int { return int(g.Last-g.First) + 1 }

// Stride is the width of a row of the group's product.
func (g *Group) Stride() int { return g.Out + g.Kinds()*g.Rank }

// Linears are a model's weights bound to one side path.
type Linears struct {
	Weights *Weights
	Rank    int
	Layers  [][Groups]Group
}

func (w *Weights) linears(rank int) *Linears {
	c := w.Config
	l := &Linears{Weights: w, Rank: rank, Layers: make([][Groups]Group, c.Layers)}
	for i := range l.Layers {
		y := &w.Layers[i]
		l.Layers[i] = [Groups]Group{
			InQKV:    {First: arch.Q, Last: arch.V, M: y.qkv},
			InO:      {First: arch.O, Last: arch.O, M: y.W[arch.O]},
			InGateUp: {First: arch.Gate, Last: arch.Up, M: y.gateUp},
			InDown:   {First: arch.Down, Last: arch.Down, M: y.W[arch.Down]},
		}
		for j := range l.Layers[i] {
			g := &l.Layers[i][j]
			g.Rank = rank
			for k := g.First; k <= g.Last; k++ {
				var out int
				out, g.In = c.Shape(k)
				g.Out += out
			}
		}
	}
	return l
}

// Bind joins the weights with a stacked side path; nil is the bare model.
func (w *Weights) Bind(s *adapter.Stack) (*Linears, error) {
	if s == nil || s.Rank == 0 {
		return w.linears(0), nil
	}
	l := w.linears(s.Rank)
	for slot, p := range s.All() {
		if slot < 0 || int(slot) >= w.Config.Slots() {
			return nil, &fault.Error{Op: "bind adapters", Err: fmt.Errorf("slot %d, the model has %d", slot, w.Config.Slots())}
		}
		k := slot.Kind()
		out, in := w.Config.Shape(k)
		if p.Rank != s.Rank || len(p.A) != s.Rank*in || len(p.B) != out*s.Rank {
			return nil, &fault.Error{Op: "bind adapters", Path: slot.Tensor(), Err: fmt.Errorf("the pair does not fit %d x %d at rank %d", out, in, s.Rank)}
		}
		for j := range l.Layers[slot.Layer()] {
			if g := &l.Layers[slot.Layer()][j]; g.First <= k && k <= g.Last {
				g.A[k], g.B[k] = p.A, p.B
			}
		}
	}
	return l, nil
}

// Fuse joins the weights with As and Bs for every slot, and copies weights and
// As into one matrix a group, so that W x and A x are one product, in both
// directions. After a change of the As, call Refresh.
func (w *Weights) Fuse(rank int, a, b func(arch.Slot) []float32) *Linears {
	l := w.linears(rank)
	for i := range l.Layers {
		for j := range l.Layers[i] {
			g := &l.Layers[i][j]
			m := make([]float32, g.Stride()*g.In)
			copy(m, g.M)
			g.M, g.Fused = m, true
			for k := g.First; k <= g.Last; k++ {
				g.A[k], g.B[k] = a(arch.SlotOf(i, k)), b(arch.SlotOf(i, k))
			}
			g.Refresh()
		}
	}
	return l
}

// Refresh copies the As into the fused matrix.
func (g *Group) Refresh() {
	at := g.Out * g.In
	for k := g.First; k <= g.Last; k++ {
		at += copy(g.M[at:], g.A[k])
	}
}

// forward writes the product of x (n x In) to y (n x Stride): y = W x + B z
// with z = weights * (A x), where weights is one row of Kinds*Rank a token.
func (g *Group) forward(t *kernel.Team, c arch.Config, n int, x, y []float32, weights func(token int) []float32) {
	ld := g.Stride()
	if g.Fused {
		kernel.Gemm(t, false, true, n, ld, g.In, 1, x, g.In, g.M, g.In, 0, y, ld)
	} else {
		kernel.Gemm(t, false, true, n, g.Out, g.In, 1, x, g.In, g.M, g.In, 0, y, ld)
	}
	if g.Rank == 0 {
		return
	}
	if !g.Fused {
		for k, z := g.First, g.Out; k <= g.Last; k, z = k+1, z+g.Rank {
			if g.A[k] != nil {
				kernel.Gemm(t, false, true, n, g.Rank, g.In, 1, x, g.In, g.A[k], g.In, 0, y[z:], ld)
				continue
			}
			for i := range n {
				clear(y[i*ld+z : i*ld+z+g.Rank])
			}
		}
	}
	for i := range n {
		z := y[i*ld+g.Out : (i+1)*ld]
		kernel.Mul(z, z, weights(i)[:len(z)])
	}
	for k, at, z := g.First, 0, g.Out; k <= g.Last; k, z = k+1, z+g.Rank {
		out, _ := c.Shape(k)
		if g.B[k] != nil {
			kernel.Gemm(t, false, true, n, out, g.Rank, 1, y[z:], ld, g.B[k], g.Rank, 1, y[at:], ld)
		}
		at += out
	}
}
