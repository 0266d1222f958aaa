package main

import "fmt"

// neonGemm writes the float32 tiles and the packing of Gemm.
func neonGemm() string {
	a := newFile()
	for _, h := range []int{6, 4, 2} {
		for _, w := range []int{4, 2} {
			neonGemmTile(a, h, w)
		}
	}
	neonPack(a)
	return a.String()
}

// neonGemmTile is gemmTile with w vectors of 4. 6x16 takes 24 registers for
// the sums, 4 for b and 2 for a, whose values are used as elements.
func neonGemmTile(a *asm, h, w int) {
	a.fn(fmt.Sprintf("gemmNEON_%dx%d", h, 4*w),
		"(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)", 64)
	a.arguments("k+0", "a+8", "aStep+16", "b+24", "bStep+32", "c+40", "cStep+48")
	acc := func(r, i int) int { return 8 + r*w + i }
	for r := range h {
		for i := range w {
			a.v(zero, acc(r, i))
		}
	}
	// c is needed at the end only: ask for it now.
	a.op("MOVD R5, R7")
	for range h {
		a.op("PRFM (R7), PLDL1KEEP")
		a.op("ADD R6, R7")
	}
	a.label("loop")
	for i := 0; i < w; i += 2 {
		a.op("FLDPQ %d(R3), (F%d, F%d)", 16*i, i, i+1)
	}
	for r := 0; r < h; r += 4 {
		if h-r >= 4 {
			a.op("FMOVQ %d(R1), F%d", 4*r, 4+r/4)
		} else {
			a.op("FMOVD %d(R1), F%d", 4*r, 4+r/4)
		}
	}
	a.op("ADD R2, R1")
	a.op("ADD R4, R3")
	for r := range h {
		for i := range w {
			a.v(fmlaE, acc(r, i), i, 4+r/4, r%4)
		}
	}
	a.op("SUB $1, R0")
	a.op("CBNZ R0, loop")
	a.op("FMOVS alpha+56(FP), F0")
	a.op("FMOVS beta+60(FP), F1")
	for r := range h {
		for i := range w {
			a.v(fmulE, acc(r, i), acc(r, i), 0, 0)
		}
	}
	a.op("FMOVS F1, R7")
	a.op("LSLW $1, R7, R7")
	a.op("CBZW R7, store")
	a.op("MOVD R5, R7")
	for r := range h {
		for i := 0; i < w; i += 2 {
			a.op("FLDPQ %d(R7), (F2, F3)", 16*i)
			a.v(fmlaE, acc(r, i), 2, 1, 0)
			a.v(fmlaE, acc(r, i+1), 3, 1, 0)
		}
		a.op("ADD R6, R7")
	}
	a.label("store")
	for r := range h {
		for i := 0; i < w; i += 2 {
			a.op("FSTPQ (F%d, F%d), %d(R5)", acc(r, i), acc(r, i+1), 16*i)
		}
		a.op("ADD R6, R5")
	}
	a.op("RET")
}

// neonPack writes pack4T, pack4 and pack16, as packTranspose and packCopy do.
func neonPack(a *asm) {
	const signature = "(dst *float32, dstStep int, src *float32, srcStep int, k int)"
	begin := func(name string) {
		a.fn(name, signature, 40)
		a.arguments("dst+0", "dstStep+8", "src+16", "srcStep+24", "k+32")
	}
	begin("pack4T")
	a.op("ADD R3, R2, R5")
	a.op("ADD R3, R5, R6")
	a.op("ADD R3, R6, R7")
	a.label("loop")
	for i, r := range []int{2, 5, 6, 7} {
		a.op("FMOVQ.P 16(R%d), F%d", r, i)
	}
	a.v(trn1S, 4, 0, 1)
	a.v(trn2S, 5, 0, 1)
	a.v(trn1S, 6, 2, 3)
	a.v(trn2S, 7, 2, 3)
	a.v(trn1D, 0, 4, 6)
	a.v(trn1D, 1, 5, 7)
	a.v(trn2D, 2, 4, 6)
	a.v(trn2D, 3, 5, 7)
	for i := range 4 {
		a.op("FMOVQ F%d, (R0)", i)
		a.op("ADD R1, R0")
	}
	a.op("SUB $4, R4")
	a.op("CBNZ R4, loop")
	a.op("RET")
	for _, n := range []int{4, 16} {
		begin(fmt.Sprintf("pack%d", n))
		a.label("loop")
		for i := 0; i < n/4; i += 2 {
			if n == 4 {
				a.op("FMOVQ (R2), F0")
				a.op("FMOVQ F0, (R0)")
			} else {
				a.op("FLDPQ %d(R2), (F%d, F%d)", 16*i, i, i+1)
				a.op("FSTPQ (F%d, F%d), %d(R0)", i, i+1, 16*i)
			}
		}
		a.op("ADD R3, R2")
		a.op("ADD R1, R0")
		a.op("SUB $1, R4")
		a.op("CBNZ R4, loop")
		a.op("RET")
	}
}
