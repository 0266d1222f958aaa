package kernel

import "unsafe"

// tileArgs are the arguments of a tile, which the assembly reads by offset
// (gen/neonmatmul.go).
type tileArgs struct {
	w      unsafe.Pointer // quants, or floats, of the panel or half of it
	s      unsafe.Pointer // their scales
	x      unsafe.Pointer // activations, int8 or float32
	xStep  int            // bytes from row to row
	meta   unsafe.Pointer // scales and sums of the activations
	mStep  int
	c      *float32
	cStep  int
	steps  int // blocks, or columns of a float32 matrix
	factor int // of minus the sum of the activations, in the integer sum
	add    int
}

// tileShape is what a tile computes: rows by outputs, a panel or half of one.
type tileShape struct{ rows, outputs int }

// The table of runTile: the tiles of float32, then for each shape of NEON and
// of NEONDot those of 4 and of 8 bits by scaling.
const quantKinds = 6

var (
	tilesFloat = []tileShape{{1, lanes}, {2, lanes}, {4, lanes}, {6, lanes}}
	tilesBase  = []tileShape{{1, lanes}, {2, lanes}}
	tilesDot   = []tileShape{{1, lanes}, {2, lanes}, {4, lanes / 2}, {6, lanes / 2}}
)

// runTile runs a tile by its place in the table.
//
//go:noescape
func runTile(kernel int, args *tileArgs)

// tile computes c = or += the product of some rows and panels, as many rows at
// a time as there are tiles for.
func tile(w *Matrix, panel, panels int, a *Acts, row, rows int, c []float32, stride int, sum bool) {
	level := Current()
	if level == Plain || w.cols == 0 {
		plainTile(w, panel, panels, a, row, rows, c, stride, sum)
		return
	}
	args := tileArgs{cStep: 4 * stride}
	if sum {
		args.add = 1
	}
	// The first of these tiles in the table, and how many are between shapes.
	shapes, first, between := tilesFloat, 0, 1
	scaleSize := 0
	if w.form == formFloat {
		args.xStep, args.steps = 4*a.cols, a.cols
	} else {
		args.xStep, args.mStep, args.steps = a.stride, 4*metaSize*a.blocks, a.blocks
		shapes, first, between = tilesBase, len(tilesFloat), quantKinds
		if level == NEONDot {
			shapes, first = tilesDot, first+quantKinds*len(tilesBase)
		}
		first += int(w.form-form4)*3 + int(w.scaling)
		args.factor = w.factor()
		scaleSize = 2
		if w.scaling == scaleFull {
			scaleSize = 4
		}
	}
	for p := range panels {
		quants, scales := w.pointers(panel + p)
		for r := 0; r < rows; {
			i := len(shapes) - 1
			for shapes[i].rows > rows-r {
				i--
			}
			if w.form == formFloat {
				args.x = unsafe.Pointer(&a.x[(row+r)*a.cols])
			} else {
				args.x = unsafe.Pointer(&a.q[(row+r)*a.stride])
				args.meta = unsafe.Pointer(&a.meta[(row+r)*a.blocks*metaSize])
			}
			for l := 0; l < lanes; l += shapes[i].outputs {
				args.w = unsafe.Add(quants, 4*l)
				if scales != nil {
					args.s = unsafe.Add(scales, scaleSize*l)
				}
				args.c = &c[r*stride+p*lanes+l]
				runTile(first+i*between, &args)
			}
			r += shapes[i].rows
		}
	}
}

// factor is what minus the sum of a block's activations counts in the integer
// sum: the offset of scaleShift, less the 128 that the tiles take from 8 bits
// so that they have a sign.
func (w *Matrix) factor() int {
	f := 0
	if w.scaling == scaleShift {
		f = 1 << w.shift
	}
	if w.form == form8 {
		f -= 128
	}
	return f
}

// quantiseRow makes the int8 form of a row, whose length is a multiple of 32.
func quantiseRow(q []int8, meta, x []float32) {
	if Current() == Plain || len(x) == 0 {
		plainQuantise(q, meta, x)
		return
	}
	quantiseNEON(&q[0], &meta[0], &x[0], len(x)/blockSize)
}

//go:noescape
func quantiseNEON(q *int8, meta, x *float32, blocks int)
