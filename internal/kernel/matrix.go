package kernel

import (
	"encoding/binary"
	"sync/atomic"

	"crayon/internal/half"
)

const (
	blockSize = 32 // weights that share a scale, and activations that do
	lanes     = 16 // output rows of a panel: one 32-bit lane each
	quads     = blockSize / 4
)

// Block is 32 consecutive weights of a row: value = D*Q + M.
type Block struct {
	Q    [blockSize]uint8
	D, M float32
}

// form is how the weights of a Matrix are kept.
type form uint8

const (
	formFloat form = iota // float32
	form4                 // two weights a byte
	form8                 // one weight a byte
)

// scaling is how D and M are kept.
type scaling uint8

const (
	scaleShift scaling = iota // D as half, M = -(D << shift)
	scaleHalf                 // D and M as half
	scaleFull                 // D and M as float32
)

// Matrix is a matrix of weights packed for MatMul: rows outputs by cols
// inputs. It is read-only, so it may be used from several goroutines.
//
// The rows are kept in panels of 16, one lane a row; the last is filled up
// with zeros. A panel of 8-bit weights is, for each block of 32 columns, 8
// groups of 64 bytes: 4 consecutive columns of row 0, of row 1, and so on. A
// panel of 4-bit weights has 4 such groups, group g with columns 4g.. in the
// low halves of its bytes and columns 16+4g.. in the high ones. The scales of
// a panel are, for each block, 16 of D and then 16 of M.
type Matrix struct {
	rows, cols int
	form       form
	scaling    scaling
	shift      int
	panels     int
	blocks     int // blocks of a row
	quants     []byte
	half       []uint16
	full       []float32
	floats     []float32 // formFloat: panels of [cols][16]
	arena      *Arena    // that the memory is of, which lives as long as this
}

// Rows is the number of outputs.
func (w *Matrix) Rows() int { return w.rows }

// Cols is the number of inputs.
func (w *Matrix) Cols() int { return w.cols }

// Bytes is the memory that the weights and scales take: what one pass reads.
func (w *Matrix) Bytes() int {
	return len(w.quants) + 2*len(w.half) + 4*len(w.full) + 4*len(w.floats)
}

// panelBytes is the number of bytes of quants in a panel.
func (w *Matrix) panelBytes() int {
	if w.form == form4 {
		return w.blocks * blockSize * lanes / 2
	}
	return w.blocks * blockSize * lanes
}

// scaleLanes is the number of scales a panel has for a block.
func (w *Matrix) scaleLanes() int {
	if w.scaling == scaleShift {
		return lanes
	}
	return 2 * lanes
}

// Pack4 packs weights whose Q are 0..15; what is above is cut off. cols must
// be a multiple of 32. get fills in one block of a row and is called once for
// each, from several goroutines at once when the team has several threads.
func Pack4(t *Team, rows, cols int, get func(row, block int, b *Block)) *Matrix {
	return (*Arena)(nil).Pack4(t, rows, cols, get)
}

// Pack4 is the function of that name with the weights in the arena.
func (a *Arena) Pack4(t *Team, rows, cols int, get func(row, block int, b *Block)) *Matrix {
	return pack(a, t, form4, rows, cols, get)
}

// Pack8 packs weights whose Q are 0..255; otherwise like Pack4.
func Pack8(t *Team, rows, cols int, get func(row, block int, b *Block)) *Matrix {
	return (*Arena)(nil).Pack8(t, rows, cols, get)
}

// Pack8 is the function of that name with the weights in the arena.
func (a *Arena) Pack8(t *Team, rows, cols int, get func(row, block int, b *Block)) *Matrix {
	return pack(a, t, form8, rows, cols, get)
}

// PackF32 packs the float32 weights w, rows x cols, row-major; cols need not
// be a multiple of 32.
func PackF32(t *Team, rows, cols int, w []float32) *Matrix {
	return (*Arena)(nil).PackF32(t, rows, cols, w)
}

// PackF32 is the function of that name with the weights in the arena.
func (a *Arena) PackF32(t *Team, rows, cols int, w []float32) *Matrix {
	if rows < 0 || cols < 0 || len(w) < rows*cols {
		panic("kernel: PackF32: too few weights")
	}
	m := &Matrix{rows: rows, cols: cols, panels: (rows + lanes - 1) / lanes, arena: a}
	m.floats = take[float32](a, m.panels*cols*lanes)
	t.For(m.panels, 4, func(lo, hi int) {
		for p := lo; p < hi; p++ {
			dst := m.floats[p*cols*lanes : (p+1)*cols*lanes]
			for l := range min(lanes, rows-p*lanes) {
				for k, v := range w[(p*lanes+l)*cols : (p*lanes+l+1)*cols] {
					dst[k*lanes+l] = v
				}
			}
		}
	})
	return m
}

func pack(a *Arena, t *Team, f form, rows, cols int, get func(row, block int, b *Block)) *Matrix {
	if rows < 0 || cols < 0 || cols%blockSize != 0 {
		panic("kernel: Pack: the columns must be a multiple of 32")
	}
	w := &Matrix{
		rows: rows, cols: cols, form: f,
		panels: (rows + lanes - 1) / lanes, blocks: cols / blockSize, arena: a,
	}
	w.quants = take[byte](a, w.panels*w.panelBytes())
	w.full = a.scales(w.panels * w.blocks * 2 * lanes)
	var scales atomic.Uint32 // what all scales allow
	scales.Store(^uint32(0))
	t.For(w.panels, 4, func(lo, hi int) {
		var b Block
		seen := ^uint32(0)
		for p := lo; p < hi; p++ {
			for l := range min(lanes, rows-p*lanes) {
				for k := range w.blocks {
					get(p*lanes+l, k, &b)
					w.put(p, l, k, &b)
					seen = possible(seen, b.D, b.M)
				}
			}
		}
		scales.And(seen)
	})
	w.shrink(t, scales.Load())
	return w
}

// put writes one block and its scales in full precision.
func (w *Matrix) put(panel, lane, block int, b *Block) {
	s := w.full[(panel*w.blocks+block)*2*lanes:]
	s[lane], s[lanes+lane] = b.D, b.M
	if w.form == form8 {
		dst := w.quants[(panel*w.blocks+block)*blockSize*lanes+4*lane:]
		for i := range quads {
			copy(dst[i*4*lanes:i*4*lanes+4], b.Q[4*i:])
		}
		return
	}
	const mask = 0x0f0f0f0f0f0f0f0f
	le := binary.LittleEndian
	a := le.Uint64(b.Q[0:])&mask | le.Uint64(b.Q[16:])&mask<<4
	c := le.Uint64(b.Q[8:])&mask | le.Uint64(b.Q[24:])&mask<<4
	dst := w.quants[(panel*w.blocks+block)*blockSize*lanes/2+4*lane:]
	le.PutUint32(dst, uint32(a))
	le.PutUint32(dst[4*lanes:], uint32(a>>32))
	le.PutUint32(dst[8*lanes:], uint32(c))
	le.PutUint32(dst[12*lanes:], uint32(c>>32))
}

// What the scales of a matrix allow, as bits: bits 0..7 that M = -(D << bit),
// bit 8 that all D are exact as half, bit 9 that all M are.
const (
	maxShift = 7
	bitD     = 1 << 8
	bitM     = 1 << 9
)

// isHalf says whether f is exactly a finite half-precision number.
func isHalf(f float32) bool {
	h := half.Bits(f)
	return half.Finite(h) && half.Float32(h) == f
}

// possible returns the bits of seen that hold for a block too.
func possible(seen uint32, d, m float32) uint32 {
	const shifts = 1<<(maxShift+1) - 1
	if seen&bitD != 0 && !isHalf(d) {
		seen &^= bitD
	}
	if seen&bitM != 0 && !isHalf(m) {
		seen &^= bitM
	}
	if seen&shifts != 0 {
		for s := range maxShift + 1 {
			if m != -d*float32(int(1)<<s) {
				seen &^= 1 << s
			}
		}
	}
	return seen
}

// shrink keeps the scales in the smallest form that is exact.
func (w *Matrix) shrink(t *Team, bits uint32) {
	w.scaling = scaleFull
	if bits&bitD != 0 && bits&bitM != 0 {
		w.scaling = scaleHalf
	}
	for s := 0; bits&bitD != 0 && s <= maxShift; s++ {
		if bits&(1<<s) != 0 {
			w.scaling, w.shift = scaleShift, s
			break
		}
	}
	if w.scaling == scaleFull {
		full := take[float32](w.arena, len(w.full))
		copy(full, w.full)
		w.full = full
		return
	}
	n := w.scaleLanes()
	w.half = take[uint16](w.arena, w.panels*w.blocks*n)
	t.For(w.panels*w.blocks, 256, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			ToHalf(w.half[i*n:], w.full[i*2*lanes:i*2*lanes+n])
		}
	})
	w.full = nil
}

// scales returns D and M of a lane in a block.
func (w *Matrix) scales(panel, block, lane int) (d, m float32) {
	i := (panel*w.blocks+block)*w.scaleLanes() + lane
	switch w.scaling {
	case scaleShift:
		d = half.Float32(w.half[i])
		return d, -d * float32(int(1)<<w.shift)
	case scaleHalf:
		return half.Float32(w.half[i]), half.Float32(w.half[i+lanes])
	default:
		return w.full[i], w.full[i+lanes]
	}
}

// quant returns Q of column i of a block.
func (w *Matrix) quant(panel, block, lane, i int) uint8 {
	if w.form == form8 {
		return w.quants[((panel*w.blocks+block)*quads+i/4)*4*lanes+4*lane+i%4]
	}
	v := w.quants[((panel*w.blocks+block)*quads/2+i%16/4)*4*lanes+4*lane+i%4]
	return v >> (i / 16 * 4) & 15
}

// Row writes row i as float32 to dst, which has at least Cols values: D*Q + M
// of each weight, rounded once.
func (w *Matrix) Row(i int, dst []float32) {
	if i < 0 || i >= w.rows {
		panic("kernel: Row: no such row")
	}
	p, l := i/lanes, i%lanes
	dst = dst[:w.cols]
	if w.form == formFloat {
		for k := range dst {
			dst[k] = w.floats[(p*w.cols+k)*lanes+l]
		}
		return
	}
	for b := range w.blocks {
		d, m := w.scales(p, b, l)
		for k := range blockSize {
			dst[b*blockSize+k] = float32(float64(d)*float64(w.quant(p, b, l, k)) + float64(m))
		}
	}
}
