//go:build linux && (amd64 || arm64)

package cuda

import (
	"fmt"
	"io"
	"time"

	"crayon/internal/arch"
	nv "crayon/internal/cuda"
)

// products times the thin products of the reverse pass, whose inner dimension
// is the tokens: whole, and cut into slices whose sums would be added up. It
// says whether cuBLAS cuts them well by itself.
func (r *replica) products(out io.Writer, tokens int) error {
	const rank, rounds, slices = 80, 20, 8
	c := r.config
	q, dim := c.Heads*c.HeadDim, c.Dim
	ff, _ := c.Shape(arch.Gate)
	wide := max(2*ff+2*rank, q+3*rank)
	var own []nv.Ptr
	defer func() {
		for _, p := range own {
			r.give(p)
		}
	}()
	take := func(n, size int) (nv.Ptr, error) {
		p, err := r.take(n, size)
		if err != nil {
			return 0, err
		}
		own = append(own, p)
		return p, r.stream.Zero(p, uint64(n*size))
	}
	a, err := take(tokens*wide, two)
	if err != nil {
		return err
	}
	b, err := take(tokens*wide, two)
	if err != nil {
		return err
	}
	to, err := take(slices*wide*max(dim, 2*rank), four)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\nproducts over %d tokens, in us: whole, in %d slices\n", tokens, slices)
	for _, x := range []struct {
		name     string
		m, n     int
		lda, ldb int
	}{
		{"dB gate", ff, rank, 2*ff + 2*rank, dim + 2*rank},
		{"dB gate and up at once", 2 * ff, 2 * rank, 2*ff + 2*rank, dim + 2*rank},
		{"dB down", dim, rank, dim + rank, ff + rank},
		{"dB q", q, rank, q + 3*rank, dim + 3*rank},
		{"dA gate up", 2 * rank, dim, 2*ff + 2*rank, dim + 2*rank},
		{"dA down", rank, ff, dim + rank, ff + rank},
	} {
		fmt.Fprintf(out, "%24s", x.name)
		for _, cut := range []int{1, slices} {
			g := nv.Gemm{TransA: true, M: x.m, N: x.n, K: tokens / cut, Alpha: 1, A: a, LDA: x.lda, B: b, LDB: x.ldb, C: to, TypeA: nv.BF16, TypeB: nv.BF16, TypeC: nv.F32,
				Batch: cut, StrideA: int64(tokens / cut * x.lda), StrideB: int64(tokens / cut * x.ldb), StrideC: int64(x.m * x.n)}
			var began time.Time
			for i := range rounds + 2 {
				if i == 2 { // the first calls load what they need
					if err := r.stream.Wait(); err != nil {
						return err
					}
					began = time.Now()
				}
				if err := r.blas.Gemm(g); err != nil {
					return err
				}
			}
			if err := r.stream.Wait(); err != nil {
				return err
			}
			fmt.Fprintf(out, "%10.1f", time.Since(began).Seconds()*1e6/rounds)
		}
		fmt.Fprintln(out)
	}
	return nil
}
