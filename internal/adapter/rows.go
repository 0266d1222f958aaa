package adapter

import (
	"fmt"

	"crayon/internal/arch"
)

// Hugging Face keeps the two values of a rotary pair half a head apart, GGUF
// files of the llama family next to each other: row (head, half, i) there is
// row (head, i, half) here. Converters permute the rows of W for q and k, so
// those of B have to follow; A, and every other layer, stays as it is.

// heads is how many heads of permuted rows a kind has; 0 if its order is the
// same in both.
func heads(k arch.Kind, c arch.Config) int {
	switch {
	case c.RopeHalves:
		return 0
	case k == arch.Q:
		return c.Heads
	case k == arch.K:
		return c.KVHeads
	}
	return 0
}

// fromHF is b (rows of the given width, in Hugging Face order) in GGUF order.
func fromHF(b []float32, width int, k arch.Kind, c arch.Config) []float32 {
	return permute(b, width, heads(k, c), c.HeadDim, true)
}

// toHF undoes fromHF.
func toHF(b []float32, width int, k arch.Kind, c arch.Config) []float32 {
	return permute(b, width, heads(k, c), c.HeadDim, false)
}

// permute gives a copy of b, rows of the given width, with the rows of each
// head reordered: row 2i+half from row half*dim/2+i when pairing, else back.
func permute(b []float32, width, heads, dim int, pairing bool) []float32 {
	out := make([]float32, len(b))
	copy(out, b)
	for h := range heads {
		for half := range 2 {
			for i := range dim / 2 {
				apart, paired := h*dim+half*dim/2+i, h*dim+2*i+half
				from, to := paired, apart
				if pairing {
					from, to = apart, paired
				}
				copy(out[to*width:(to+1)*width], b[from*width:(from+1)*width])
			}
		}
	}
	return out
}

// padded is the pair at a larger rank: rows of A and columns of B of zeros
// follow, which change no product. A format with one alpha for all pairs
// scales each by its own rank, so all get the same.
func (p *Pair) padded(rank int) *Pair {
	if p.Rank == rank {
		return p
	}
	q := &Pair{Rank: rank, In: p.In, Out: p.Out, A: make([]float32, rank*p.In), B: make([]float32, p.Out*rank)}
	copy(q.A, p.A)
	for o := range p.Out {
		copy(q.B[o*rank:], p.B[o*p.Rank:(o+1)*p.Rank])
	}
	return q
}

// scaled is values times f, a copy.
func scaled(values []float32, f float32) []float32 {
	out := make([]float32, len(values))
	for i, v := range values {
		out[i] = f * v
	}
	return out
}

// join makes a pair of the two matrices read for a layer, with the scale
// folded into B.
func join(a, b matrix, scale float64) (*Pair, error) {
	switch {
	case a.values == nil:
		return nil, fmt.Errorf("it has a B but no A")
	case b.values == nil:
		return nil, fmt.Errorf("it has an A but no B")
	case a.rows != b.cols:
		return nil, fmt.Errorf("matrix A is %d x %d and B %d x %d: their ranks differ", a.rows, a.cols, b.rows, b.cols)
	}
	return &Pair{Rank: a.rows, In: a.cols, Out: b.rows, A: a.values, B: scaled(b.values, float32(scale))}, nil
}

// matrix is a row-major matrix read from a file.
type matrix struct {
	rows, cols int
	values     []float32
}
