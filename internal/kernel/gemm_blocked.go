//go:build amd64 || arm64

package kernel

import "sync"

// Gemm cuts both operands into slivers, copies them so that a tile reads
// memory in order, and works through blocks that fit the caches (Goto and van
// de Geijn 2008, "Anatomy of High-Performance Matrix Multiplication").

const (
	minShared = 1 << 17 // multiplications worth a team
	depth     = 320     // steps of k that a packed block has at most
	packedA   = 240     // rows of a packed at a time; with depth, 300 KiB of the second cache
	packedB   = 1024    // columns of b packed at a time
	direct    = 48      // with fewer rows, b is read where it lies instead of packed
)

// operand is a, as rows, or b, as columns: "lines" that slivers are cut from.
type operand struct {
	x     []float32
	ld    int
	along bool // the lines lie side by side: step p of line i is x[p*ld+i]; else x[i*ld+p]
}

// at returns x from step p of line i.
func (o *operand) at(i, p int) []float32 {
	if o.along {
		return o.x[p*o.ld+i:]
	}
	return o.x[i*o.ld+p:]
}

// pack writes the steps p..p+k of the lines i..i+n as a sliver: k groups of
// width values, zeros after the n-th.
func (o *operand) pack(dst []float32, width, i, n, p, k int) {
	if n < width {
		clear(dst[:k*width])
	}
	if n < 4 {
		for l := range n {
			o.packLine(dst[l:], width, i+l, p, k)
		}
		return
	}
	if o.along {
		l := 0
		for ; l+16 <= n; l += 16 {
			pack16(&dst[l], 4*width, &o.at(i+l, p)[0], 4*o.ld, k)
		}
		for ; l < n; l += 4 {
			l = min(l, n-4) // the last group may overlap the one before
			pack4(&dst[l], 4*width, &o.at(i+l, p)[0], 4*o.ld, k)
		}
		return
	}
	whole := k &^ 3
	for l := 0; l < n; l += 4 {
		l = min(l, n-4)
		if whole > 0 {
			pack4T(&dst[l], 4*width, &o.at(i+l, p)[0], 4*o.ld, whole)
		}
		for j := whole; j < k; j++ {
			for e := range 4 {
				dst[j*width+l+e] = o.x[(i+l+e)*o.ld+p+j]
			}
		}
	}
}

func (o *operand) packLine(dst []float32, width, i, p, k int) {
	step := 1
	if o.along {
		step = o.ld
	}
	src := o.at(i, p)
	for j := range k {
		dst[j*width] = src[j*step]
	}
}

// tiles are the tile kernels of a level: heights of rows, the largest first,
// and widths of columns, two.
type tiles struct {
	heights [3]int
	width   int // the other width is half of it
	run     func(height int, wide bool, k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)
}

// height returns the height of the sliver that begins where left rows are.
func (s *tiles) height(left int) int {
	h := s.heights[0]
	for _, v := range s.heights[1:] {
		if v >= left {
			h = v
		}
	}
	return h
}

// blockedGemm does the work of Gemm for k > 0, where the level has tiles;
// else it returns false.
func blockedGemm(t *Team, transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) bool {
	g := gemm{
		m: m, n: n, k: k, alpha: alpha, beta: beta,
		a: operand{x: a, ld: lda, along: transA},
		b: operand{x: b, ld: ldb, along: !transB},
		c: c, ldc: ldc, tiles: gemmTiles(),
	}
	switch {
	case g.tiles == nil:
		return false
	case t.Threads() == 1 || m*n*k < minShared:
		g.block(0, m, 0, n)
	default:
		g.share(t)
	}
	return true
}

// gemm is one product.
type gemm struct {
	m, n, k     int
	alpha, beta float32
	a, b        operand
	c           []float32
	ldc         int
	tiles       *tiles
}

// share cuts c into blocks for the team: along the longer side, until there
// are two for each thread.
func (g *gemm) share(t *Team) {
	high, wide := g.tiles.heights[0], g.tiles.width
	bm, bn := g.m, g.n
	parts := func() int { return ((g.m + bm - 1) / bm) * ((g.n + bn - 1) / bn) }
	for parts() < 2*t.Threads() {
		halve := func(v, unit int) int { return (v/2 + unit - 1) / unit * unit }
		switch {
		case bm >= bn && bm > 4*high:
			bm = halve(bm, high)
		case bn > 2*wide:
			bn = halve(bn, wide)
		case bm > 4*high:
			bm = halve(bm, high)
		default:
			goto cut
		}
	}
cut:
	across := (g.n + bn - 1) / bn
	w := *g // so that a product without a team needs no allocation
	t.For(parts(), 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			r, c := i/across*bm, i%across*bn
			w.block(r, min(r+bm, w.m), c, min(c+bn, w.n))
		}
	})
}

// buffers are the packed blocks of one goroutine, and a tile that does not
// fit into c.
type buffers struct {
	a, b []float32
	edge [12 * 32]float32
}

var buffersPool = sync.Pool{New: func() any { return new(buffers) }}

func grow(s *[]float32, n int) []float32 {
	if cap(*s) < n {
		*s = aligned[float32](n)
	}
	return (*s)[:n]
}

// block computes the rows r0..r1 and columns c0..c1 of c.
func (g *gemm) block(r0, r1, c0, c1 int) {
	buf := buffersPool.Get().(*buffers)
	defer buffersPool.Put(buf)
	width := g.tiles.width
	// k in equal parts, each a multiple of 4.
	parts := (g.k + depth - 1) / depth
	kc := ((g.k+parts-1)/parts + 3) &^ 3
	// What is used once or twice is not worth packing, where it can be read
	// in place.
	readA := g.a.along && c1-c0 <= width
	readB := g.b.along && r1-r0 <= direct
	for p := 0; p < g.k; p += kc {
		k := min(kc, g.k-p)
		beta := float32(1)
		if p == 0 {
			beta = g.beta
		}
		for c := c0; c < c1; c += packedB {
			cn := min(packedB, c1-c)
			pb := grow(&buf.b, (cn+width-1)/width*width*k)
			for j := 0; j < cn; j += width {
				if n := min(width, cn-j); n < width || !readB {
					g.b.pack(pb[j*k:], g.columns(n), c+j, n, p, k)
				}
			}
			for r := r0; r < r1; r += packedA {
				rn := min(packedA, r1-r)
				pa := grow(&buf.a, (rn+g.tiles.heights[0])*k)
				for i, h := 0, 0; i < rn; i += h {
					h = g.tiles.height(rn - i)
					if n := min(h, rn-i); n < h || !readA {
						g.a.pack(pa[i*k:], h, r+i, n, p, k)
					}
				}
				g.packed(pa, pb, &buf.edge, r, rn, c, cn, p, k, readA, readB, beta)
			}
		}
	}
}

// columns is the width of the sliver that holds n columns.
func (g *gemm) columns(n int) int {
	if narrow := g.tiles.width / 2; n <= narrow {
		return narrow
	}
	return g.tiles.width
}

// packed multiplies a packed block of a with one of b.
func (g *gemm) packed(pa, pb []float32, edge *[12 * 32]float32, r, rn, c, cn, p, k int, readA, readB bool, beta float32) {
	width := g.tiles.width
	for j := 0; j < cn; j += width {
		n := min(width, cn-j)
		w := g.columns(n)
		b, bStep := &pb[j*k], 4*w
		if readB && n == width {
			b, bStep = &g.b.at(c+j, p)[0], 4*g.b.ld
		}
		for i, h := 0, 0; i < rn; i += h {
			h = g.tiles.height(rn - i)
			m := min(h, rn-i)
			a, aStep := &pa[i*k], 4*h
			if readA && m == h {
				a, aStep = &g.a.at(r+i, p)[0], 4*g.a.ld
			}
			at := (r+i)*g.ldc + c + j
			if m == h && n == w {
				g.tiles.run(h, w == width, k, a, aStep, b, bStep, &g.c[at], 4*g.ldc, g.alpha, beta)
				continue
			}
			g.tiles.run(h, w == width, k, a, aStep, b, bStep, &edge[0], 4*w, g.alpha, 0)
			for l := range m {
				dst := g.c[at+l*g.ldc:][:n]
				for e, v := range edge[l*w:][:n] {
					if beta == 0 {
						dst[e] = v
					} else {
						dst[e] = v + beta*dst[e]
					}
				}
			}
		}
	}
}
