package main

import "fmt"

// Offsets in tileArgs (matmul_amd64.go).
const (
	argW0 = 8 * iota
	argW1
	argS0
	argS1
	argX
	argXStep
	argMeta
	argMetaStep
	argC
	argCStep
	argSteps
	argShift
	argAdd
	_
	argTiles
	argWNext
	argSNext
	argXNext
	argMetaNext
	argCNext
)

// Scalings of matrix.go, and what they take: bytes of the scales of a block,
// and where M begins in them.
const (
	scaleShift = iota
	scaleHalf
	scaleFull
)

var (
	scaleNames = []string{"shift", "half", "full"}
	scaleBytes = []int{32, 64, 128}
	scaleM     = []int{0, 32, 64}
)

// shape is a tile: rows of activations by panels of 16 outputs.
type shape struct{ rows, panels int }

func (s shape) String() string { return fmt.Sprintf("%dx%d", s.rows, s.panels) }

// The tiles of AVX-512; the order is that of the table in runTile, which
// matmul_amd64.go knows.
var shapes512 = []shape{{1, 1}, {2, 1}, {4, 1}, {6, 2}}

// matmul writes the tiles of MatMul and runTile, which jumps to one of them.
func matmul() string {
	a := newFile()
	var table []string
	define := func(name string, frame int, body func()) {
		fmt.Fprintf(a, "\n// %s: AX is the tileArgs.\nTEXT %s<>(SB), NOSPLIT, $%d-0\n", name, name, frame)
		body()
		table = append(table, name)
	}
	for _, s := range shapes512 {
		define("f32_512_"+s.String(), 0, func() { floatTile512(a, s) })
		for _, bits := range []int{4, 8} {
			for scaling, n := range scaleNames {
				define(fmt.Sprintf("q%d%s_512_%v", bits, n, s), 0, func() { quantTile512(a, s, bits, scaling) })
			}
		}
	}
	ymmTiles := func(suffix string, shapes []shape, vnni bool) {
		for _, s := range shapes {
			if name := "f32_2_" + s.String(); vnni {
				define(name, 0, func() { floatTileYmm(a, s) })
			} else {
				table = append(table, name) // the same tile
			}
			for _, bits := range []int{4, 8} {
				for scaling, n := range scaleNames {
					define(fmt.Sprintf("q%d%s_%s_%v", bits, n, suffix, s), s.frame(), quantTileYmm{a, s, bits, scaling, vnni}.write)
				}
			}
		}
	}
	ymmTiles("2", shapes2, false)
	ymmTiles("vnni", shapesVNNI, true)
	a.table("tiles", table)
	constants(a, "nibbles", 0x0f0f0f0f)
	constants(a, "highs", 0x80808080)
	constants(a, "ones", 0x00010001)
	a.fn("runTile", "(kernel int, args *tileArgs)", 16)
	a.jumpAX("tiles")
	return a.String()
}

// jumpAX goes on at a place of the table with the arguments in AX: the body of a
// function (kernel int, args *T).
func (a *asm) jumpAX(table string) {
	a.op("MOVQ kernel+0(FP), CX")
	a.op("MOVQ args+8(FP), AX")
	a.op("LEAQ %s<>(SB), DX", table)
	a.op("MOVQ (DX)(CX*8), DX")
	a.op("JMP DX")
}

// constants writes a vector of 8 equal 32-bit words.
func constants(a *asm, name string, word uint32) {
	for i := range 8 {
		fmt.Fprintf(a, "DATA %s<>+%d(SB)/4, $0x%08x\n", name, 4*i, word)
	}
	fmt.Fprintf(a, "GLOBL %s<>(SB), RODATA|NOPTR, $32\n", name)
}

// rows is the addressing of up to 6 rows at a step: base, and registers that
// hold 1, 3 and 5 steps.
type rowRegs struct{ base, one, three, five string }

var (
	xRows    = rowRegs{"R10", "R11", "R12", "R13"}
	metaRows = rowRegs{"DX", "BX", "R14", "R15"}
)

func (r rowRegs) load(a *asm, base, step, rows int) {
	a.op("MOVQ %d(AX), %s", base, r.base)
	a.op("MOVQ %d(AX), %s", step, r.one)
	if rows > 3 {
		a.op("LEAQ (%s)(%s*2), %s", r.one, r.one, r.three)
	}
	if rows > 5 {
		a.op("LEAQ (%s)(%s*4), %s", r.one, r.one, r.five)
	}
}

// at is the address of a row, off bytes on.
func (r rowRegs) at(row, off int) string {
	switch row {
	case 0:
		return fmt.Sprintf("%d(%s)", off, r.base)
	case 3:
		return fmt.Sprintf("%d(%s)(%s*1)", off, r.base, r.three)
	case 5:
		return fmt.Sprintf("%d(%s)(%s*1)", off, r.base, r.five)
	default: // 1, 2, 4
		return fmt.Sprintf("%d(%s)(%s*%d)", off, r.base, r.one, row)
	}
}

var (
	wRegs = []string{"SI", "DI"}
	sRegs = []string{"R8", "R9"}
)

// quantTile512 writes a tile of quantised weights: for each block 8 groups of
// 4 columns go into int32 sums, which then are scaled and added up as float32.
func quantTile512(a *asm, s shape, bits, scaling int) {
	isum := func(r, p int) string { return zmm.r(8 + r*s.panels + p) }
	fsum := func(r, p int) string { return zmm.r(20 + r*s.panels + p) }
	prologue(a, s)
	xRows.load(a, argX, argXStep, s.rows)
	metaRows.load(a, argMeta, argMetaStep, s.rows)
	for r := range s.rows {
		for p := range s.panels {
			zmm.zero(a, fsum(r, p))
		}
	}
	if bits == 4 {
		a.op("VPBROADCASTD nibbles<>(SB), Z4")
	}
	a.label("block")
	for r := range s.rows {
		for p := range s.panels {
			switch {
			case scaling != scaleShift:
				zmm.zero(a, isum(r, p))
			case p > 0:
				a.op("VMOVDQA32 %s, %s", isum(r, 0), isum(r, p))
			default:
				a.op("VPBROADCASTD %s, %s", metaRows.at(r, 8), isum(r, p))
				a.op("VPSLLD %d(AX), %s, %s", argShift, isum(r, p), isum(r, p))
			}
		}
	}
	group := func(g int, w []string) {
		for r := range s.rows {
			if s.panels == 1 {
				a.op("VPDPBUSD.BCST %s, %s, %s", xRows.at(r, 4*g), w[0], isum(r, 0))
				continue
			}
			t := zmm.r(5 + r%3)
			a.op("VPBROADCASTD %s, %s", xRows.at(r, 4*g), t)
			for p := range s.panels {
				a.op("VPDPBUSD %s, %s, %s", t, w[p], isum(r, p))
			}
		}
	}
	low, high := []string{"Z0", "Z1"}, []string{"Z2", "Z3"}
	if bits == 4 {
		for g := range 4 {
			for p := range s.panels {
				a.op("VMOVDQU32 %d(%s), %s", 64*g, wRegs[p], low[p])
				a.op("VPSRLD $4, %s, %s", low[p], high[p])
				a.op("VPANDD Z4, %s, %s", low[p], low[p])
				a.op("VPANDD Z4, %s, %s", high[p], high[p])
			}
			group(g, low)
			group(g+4, high)
		}
	} else {
		for g := range 8 {
			w := [][]string{low, high}[g%2]
			for p := range s.panels {
				a.op("VMOVDQU32 %d(%s), %s", 64*g, wRegs[p], w[p])
			}
			group(g, w)
		}
	}
	for p := range s.panels {
		loadScale(a, zmm, scaling, sRegs[p], 0, low[p])
		if scaling != scaleShift {
			loadScale(a, zmm, scaling, sRegs[p], scaleM[scaling], high[p])
		}
	}
	for r := range s.rows {
		a.op("VBROADCASTSS %s, Z5", metaRows.at(r, 0))
		for p := range s.panels {
			t := zmm.r(6 + p)
			a.op("VMULPS Z5, %s, %s", low[p], t)
			a.op("VCVTDQ2PS %s, %s", isum(r, p), isum(r, p))
			a.op("VFMADD231PS %s, %s, %s", isum(r, p), t, fsum(r, p))
		}
		if scaling != scaleShift {
			for p := range s.panels {
				a.op("VFMADD231PS.BCST %s, %s, %s", metaRows.at(r, 4), high[p], fsum(r, p))
			}
		}
	}
	nextBlock(a, s, bits, scaling)
	epilogue(a, zmm, s, fsum)
}

// loadScale loads 16 (zmm) or 8 (ymm) scales as float32.
func loadScale(a *asm, v vec, scaling int, reg string, off int, dst string) {
	if scaling == scaleFull {
		a.op("VMOVUPS %d(%s), %s", off, reg, dst)
	} else {
		a.op("VCVTPH2PS %d(%s), %s", off, reg, dst)
	}
}

func prologue(a *asm, s shape) {
	a.label("tile")
	for p := range s.panels {
		a.op("MOVQ %d(AX), %s", argW0+8*p, wRegs[p])
		a.op("MOVQ %d(AX), %s", argS0+8*p, sRegs[p])
	}
	a.op("MOVQ %d(AX), CX", argSteps)
}

func nextBlock(a *asm, s shape, bits, scaling int) {
	for p := range s.panels {
		a.op("ADDQ $%d, %s", 64*bits, wRegs[p])
		a.op("ADDQ $%d, %s", scaleBytes[scaling], sRegs[p])
	}
	a.op("ADDQ $32, %s", xRows.base)
	a.op("ADDQ $16, %s", metaRows.base)
	a.op("DECQ CX")
	a.op("JNZ block")
}

// epilogue stores the sums, or adds them to c. v.lanes may be half a panel.
func epilogue(a *asm, v vec, s shape, fsum func(r, p int) string) {
	parts := s.panels * 16 / v.lanes
	a.op("MOVQ %d(AX), DX", argC)
	a.op("MOVQ %d(AX), BX", argCStep)
	a.op("MOVQ %d(AX), CX", argAdd)
	a.op("TESTQ CX, CX")
	a.op("JZ store")
	a.op("MOVQ DX, SI")
	for r := range s.rows {
		for p := range parts {
			a.op("VADDPS %d(SI), %s, %s", p*v.bytes(), fsum(r, p), fsum(r, p))
		}
		if r < s.rows-1 {
			a.op("ADDQ BX, SI")
		}
	}
	a.label("store")
	for r := range s.rows {
		for p := range parts {
			a.op("VMOVUPS %s, %d(DX)", fsum(r, p), p*v.bytes())
		}
		if r < s.rows-1 {
			a.op("ADDQ BX, DX")
		}
	}
	// The next tile of a run: other rows, or other panels.
	a.op("DECQ %d(AX)", argTiles)
	a.op("JZ done")
	advance := func(pointer, step int) {
		a.op("MOVQ %d(AX), CX", step)
		a.op("ADDQ CX, %d(AX)", pointer)
	}
	for p := range s.panels {
		advance(argW0+8*p, argWNext)
		advance(argS0+8*p, argSNext)
	}
	advance(argX, argXNext)
	advance(argMeta, argMetaNext)
	advance(argC, argCNext)
	a.op("JMP tile")
	a.label("done")
	a.ret()
}

// floatTile512 writes a tile of float32 weights; the steps are columns.
func floatTile512(a *asm, s shape) {
	sum := func(r, p int) string { return zmm.r(8 + r*s.panels + p) }
	prologue(a, s)
	xRows.load(a, argX, argXStep, s.rows)
	for r := range s.rows {
		for p := range s.panels {
			zmm.zero(a, sum(r, p))
		}
	}
	a.label("step")
	for p := range s.panels {
		a.op("VMOVUPS (%s), %s", wRegs[p], zmm.r(p))
	}
	for r := range s.rows {
		if s.panels == 1 {
			a.op("VFMADD231PS.BCST %s, Z0, %s", xRows.at(r, 0), sum(r, 0))
			continue
		}
		t := zmm.r(4 + r%4)
		a.op("VBROADCASTSS %s, %s", xRows.at(r, 0), t)
		for p := range s.panels {
			a.op("VFMADD231PS %s, %s, %s", zmm.r(p), t, sum(r, p))
		}
	}
	nextStep(a, s)
	epilogue(a, zmm, s, sum)
}

func nextStep(a *asm, s shape) {
	for p := range s.panels {
		a.op("ADDQ $64, %s", wRegs[p])
	}
	a.op("ADDQ $4, %s", xRows.base)
	a.op("DECQ CX")
	a.op("JNZ step")
}
