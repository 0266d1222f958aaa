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

	// A run of tiles, one after the other, and the bytes from one to the next.
	tiles                             int
	wNext, sNext, xNext, mNext, cNext int
}

// The table of runTile, by kinds: for each shape of AVX-512, then of AVX2, then of
// AVX-VNNI, the float32 tile and then 4 and 8 bits by scaling.
const (
	kinds    = 7
	shape1   = 0 // one row, one panel
	shape2   = 1 // two rows, one panel
	shape4   = 2 // four rows, one panel
	shape6   = 3 // six rows, two panels: AVX-512; one panel: AVX-VNNI
	level2At = 4
	vnniAt   = level2At + 3
)

// runTile runs a tile by its place in the table.
//
//go:noescape
func runTile(kernel int, args *tileArgs)

// tile computes c = or += the product of some rows and panels: 1, 2 or 4 rows
// of any number of panels, or any multiple of 6 rows of two panels.
func tile(w *Matrix, panel, panels int, a *Acts, row, rows int, c []float32, stride int, sum bool) {
	l := Current()
	if l == Plain || w.cols == 0 {
		plainTile(w, panel, panels, a, row, rows, c, stride, sum)
		return
	}
	args := tileArgs{cStep: 4 * stride, shift: w.shift, c: &c[0]}
	if sum {
		args.add = 1
	}
	kind := 0
	if w.form == formFloat {
		args.xStep, args.steps = 4*a.cols, a.cols
		args.x = unsafe.Pointer(&a.x[row*a.cols])
	} else {
		args.xStep, args.mStep, args.steps = a.stride, 4*metaSize*a.blocks, a.blocks
		args.x = unsafe.Pointer(&a.q[row*a.stride])
		args.meta = unsafe.Pointer(&a.meta[row*a.blocks*metaSize])
		kind = 1 + int(w.form-form4)*3 + int(w.scaling)
	}
	args.w[0], args.s[0] = w.pointers(panel)
	wStep, sStep := w.steps()
	// run does tiles of some rows: as many side by side as there are panels, or
	// below each other.
	run := func(kernel, tiles int) {
		args.tiles = tiles
		runTile(kernel*kinds+kind, &args)
	}
	if l == AVX512 && rows >= tileRows {
		args.w[1], args.s[1] = w.pointers(panel + 1)
		args.xNext, args.mNext, args.cNext = tileRows*args.xStep, tileRows*args.mStep, tileRows*args.cStep
		run(shape6, rows/tileRows)
		return
	}
	at, most := 0, 4
	switch {
	case l == AVX512:
	case l == AVXVNNI || w.form == formFloat: // their tiles of float32 are AVX2
		at, most = vnniAt, 6
	default:
		at = level2At
	}
	args.wNext, args.sNext, args.cNext = wStep, sStep, 4*lanes
	first := args
	for r := 0; r < rows; {
		shape, n := shape1, 1
		switch left := min(rows-r, most); {
		case left >= 6:
			shape, n = shape6, 6
		case left >= 4:
			shape, n = shape4, 4
		case left >= 2:
			shape, n = shape2, 2
		}
		args = first
		args.x = unsafe.Add(first.x, r*args.xStep)
		args.meta = unsafe.Add(first.meta, r*args.mStep)
		args.c = &c[r*stride]
		run(at+shape, panels)
		r += n
	}
}

// steps are the bytes from a panel's quants and scales to the next one's.
func (w *Matrix) steps() (quants, scales int) {
	switch {
	case w.form == formFloat:
		return 4 * w.cols * lanes, 0
	case w.scaling == scaleFull:
		return w.panelBytes(), 4 * w.blocks * w.scaleLanes()
	}
	return w.panelBytes(), 2 * w.blocks * w.scaleLanes()
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
