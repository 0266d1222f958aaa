package kernel

import "unsafe"

// tileArgs are the arguments of a tile, which the assembly reads by offset
// (gen/matmul.go).
type tileArgs struct {
	w     [2]unsafe.Pointer // quants, or floats, of the panels
	s     [2]unsafe.Pointer // their scales
	x     unsafe.Pointer    // activations, int8 or float32
	xStep int               // bytes from row to row
	meta  unsafe.Pointer    // scales and sums of the activations
	mStep int
	c     *float32
	cStep int
	steps int // blocks, or columns of a float32 matrix
	shift int
	add   int
	_     int // VPSLLD reads 16 bytes from shift
}

// The table of runTile: for each shape of AVX-512, then of AVX2, then of
// AVX-VNNI, the float32 tile and then 4 and 8 bits by scaling.
const (
	kinds    = 7
	shape1   = 0 // one row, one panel
	shape2   = 1 // two rows, one panel
	shape4   = 2 // four rows, one panel
	shape6   = 3 // six rows, two panels: AVX-512; one panel: AVX-VNNI
	level2At = 4 * kinds
	vnniAt   = level2At + 3*kinds
)

// runTile runs a tile by its place in the table.
//
//go:noescape
func runTile(kernel int, args *tileArgs)

// tile computes c = or += the product of some rows and panels: 1, 2 or 4 rows
// of one panel, or 6 of two.
func tile(w *Matrix, panel, panels int, a *Acts, row, rows int, c []float32, stride int, sum bool) {
	l := Current()
	if l == Plain || w.cols == 0 {
		plainTile(w, panel, panels, a, row, rows, c, stride, sum)
		return
	}
	args := tileArgs{cStep: 4 * stride, shift: w.shift}
	if sum {
		args.add = 1
	}
	kind := 0
	if w.form == formFloat {
		args.xStep, args.steps = 4*a.cols, a.cols
	} else {
		args.xStep, args.mStep, args.steps = a.stride, 4*metaSize*a.blocks, a.blocks
		kind = 1 + int(w.form-form4)*3 + int(w.scaling)
	}
	set := func(p, r int) {
		args.c = &c[(r-row)*stride+(p-panel)*lanes]
		if w.form == formFloat {
			args.x = unsafe.Pointer(&a.x[r*a.cols])
		} else {
			args.x = unsafe.Pointer(&a.q[r*a.stride])
			args.meta = unsafe.Pointer(&a.meta[r*a.blocks*metaSize])
		}
	}
	if l == AVX512 {
		for p := range panels {
			args.w[p], args.s[p] = w.pointers(panel + p)
		}
		set(panel, row)
		shape := shape1
		switch rows {
		case 2:
			shape = shape2
		case 4:
			shape = shape4
		case tileRows:
			shape = shape6
		}
		runTile(shape*kinds+kind, &args)
		return
	}
	at, most := level2At, 4
	if l == AVXVNNI || w.form == formFloat { // their tiles of float32 are AVX2
		at, most = vnniAt, 6
	}
	for p := panel; p < panel+panels; p++ {
		args.w[0], args.s[0] = w.pointers(p)
		for r := row; r < row+rows; {
			set(p, r)
			shape, n := shape1, 1
			switch left := min(row+rows-r, most); {
			case left >= 6:
				shape, n = shape6, 6
			case left >= 4:
				shape, n = shape4, 4
			case left >= 2:
				shape, n = shape2, 2
			}
			runTile(at+shape*kinds+kind, &args)
			r += n
		}
	}
}

// pointers returns where the quants and the scales of a panel begin.
func (w *Matrix) pointers(panel int) (quants, scales unsafe.Pointer) {
	if w.form == formFloat {
		return unsafe.Pointer(&w.floats[panel*w.cols*lanes]), nil
	}
	quants = unsafe.Pointer(&w.quants[panel*w.panelBytes()])
	at := panel * w.blocks * w.scaleLanes()
	if w.scaling == scaleFull {
		return quants, unsafe.Pointer(&w.full[at])
	}
	return quants, unsafe.Pointer(&w.half[at])
}

// quantiseRow makes the int8 form of a row, whose length is a multiple of 32.
func quantiseRow(q []int8, meta, x []float32) {
	switch l := Current(); {
	case l == Plain || len(x) == 0:
		plainQuantise(q, meta, x)
	case l == AVX512:
		quantise512(&q[0], &meta[0], &x[0], len(x)/blockSize)
	default:
		quantise2(&q[0], &meta[0], &x[0], len(x)/blockSize)
	}
}

//go:noescape
func quantise512(q *int8, meta, x *float32, blocks int)

//go:noescape
func quantise2(q *int8, meta, x *float32, blocks int)
