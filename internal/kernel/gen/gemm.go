package main

import "fmt"

// gemm writes the float32 tiles and the packing of Gemm.
func gemm() string {
	a := newFile()
	for _, h := range []int{12, 8, 4} {
		for _, w := range []int{2, 1} {
			gemmTile(a, zmm, h, w)
		}
	}
	for _, h := range []int{6, 4, 2} {
		for _, w := range []int{2, 1} {
			gemmTile(a, ymm, h, w)
		}
	}
	packTranspose(a)
	packCopy(a)
	return a.String()
}

// gemmTile writes a tile of h rows by w vectors: c = alpha*a*b + beta*c, where
// a has h values for each step of k and b w vectors.
func gemmTile(a *asm, v vec, h, w int) {
	a.fn(fmt.Sprintf("gemm%s_%dx%d", v.level, h, w*v.lanes),
		"(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)", 64)
	a.op("MOVQ k+0(FP), CX")
	a.op("MOVQ a+8(FP), SI")
	a.op("MOVQ aStep+16(FP), R8")
	a.op("MOVQ b+24(FP), DI")
	a.op("MOVQ bStep+32(FP), R9")
	a.op("MOVQ c+40(FP), DX")
	a.op("MOVQ cStep+48(FP), BX")
	// The first registers hold b and the broadcasts of a, the others the sums.
	first, casts := 4, 2
	if v == zmm {
		first, casts = 8, 4
	}
	acc := func(r, i int) string { return v.r(first + r*w + i) }
	for r := range h {
		for i := range w {
			v.zero(a, acc(r, i))
		}
	}
	// c is needed at the end only: ask for it now.
	a.op("MOVQ DX, R10")
	for r := range h {
		for i := 0; i < w*v.bytes(); i += 64 {
			a.op("PREFETCHT0 %d(R10)", i)
		}
		if r < h-1 {
			a.op("ADDQ BX, R10")
		}
	}
	a.label("loop")
	for i := range w {
		a.op("VMOVUPS %d(DI), %s", i*v.bytes(), v.r(i))
	}
	for r := range h {
		t := v.r(2 + r%casts)
		a.op("VBROADCASTSS %d(SI), %s", 4*r, t)
		for i := range w {
			a.op("VFMADD231PS %s, %s, %s", v.r(i), t, acc(r, i))
		}
	}
	a.op("ADDQ R8, SI")
	a.op("ADDQ R9, DI")
	a.op("DECQ CX")
	a.op("JNZ loop")
	a.op("VBROADCASTSS alpha+56(FP), %s", v.r(0))
	a.op("VBROADCASTSS beta+60(FP), %s", v.r(1))
	for r := range h {
		for i := range w {
			a.op("VMULPS %s, %s, %s", v.r(0), acc(r, i), acc(r, i))
		}
	}
	a.op("MOVL beta+60(FP), AX")
	a.op("SHLL $1, AX")
	a.op("JZ store")
	a.op("MOVQ DX, R10")
	for r := range h {
		for i := range w {
			a.op("VFMADD231PS %d(R10), %s, %s", i*v.bytes(), v.r(1), acc(r, i))
		}
		if r < h-1 {
			a.op("ADDQ BX, R10")
		}
	}
	a.label("store")
	for r := range h {
		for i := range w {
			a.op("VMOVUPS %s, %d(DX)", acc(r, i), i*v.bytes())
		}
		if r < h-1 {
			a.op("ADDQ BX, DX")
		}
	}
	a.ret()
}

// packTranspose writes pack4T: 4 rows of k values, k a multiple of 4, become k
// groups of 4.
func packTranspose(a *asm) {
	a.fn("pack4T", "(dst *float32, dstStep int, src *float32, srcStep int, k int)", 40)
	a.op("MOVQ dst+0(FP), DI")
	a.op("MOVQ dstStep+8(FP), R8")
	a.op("MOVQ src+16(FP), SI")
	a.op("MOVQ srcStep+24(FP), R9")
	a.op("MOVQ k+32(FP), CX")
	a.op("LEAQ (R9)(R9*2), R10")
	a.op("LEAQ (R8)(R8*2), R11")
	a.label("loop")
	a.op("VMOVUPS (SI), X0")
	a.op("VMOVUPS (SI)(R9*1), X1")
	a.op("VMOVUPS (SI)(R9*2), X2")
	a.op("VMOVUPS (SI)(R10*1), X3")
	a.op("VUNPCKLPS X1, X0, X4")
	a.op("VUNPCKHPS X1, X0, X5")
	a.op("VUNPCKLPS X3, X2, X6")
	a.op("VUNPCKHPS X3, X2, X7")
	a.op("VUNPCKLPD X6, X4, X0")
	a.op("VUNPCKHPD X6, X4, X1")
	a.op("VUNPCKLPD X7, X5, X2")
	a.op("VUNPCKHPD X7, X5, X3")
	a.op("VMOVUPS X0, (DI)")
	a.op("VMOVUPS X1, (DI)(R8*1)")
	a.op("VMOVUPS X2, (DI)(R8*2)")
	a.op("VMOVUPS X3, (DI)(R11*1)")
	a.op("ADDQ $16, SI")
	a.op("LEAQ (DI)(R8*4), DI")
	a.op("SUBQ $4, CX")
	a.op("JNZ loop")
	a.op("RET")
}

// packCopy writes pack4 and pack16: k groups of 4 or 16 values from one step
// to another.
func packCopy(a *asm) {
	for _, n := range []int{4, 16} {
		a.fn(fmt.Sprintf("pack%d", n), "(dst *float32, dstStep int, src *float32, srcStep int, k int)", 40)
		a.op("MOVQ dst+0(FP), DI")
		a.op("MOVQ dstStep+8(FP), R8")
		a.op("MOVQ src+16(FP), SI")
		a.op("MOVQ srcStep+24(FP), R9")
		a.op("MOVQ k+32(FP), CX")
		a.label("loop")
		if n == 4 {
			a.op("VMOVUPS (SI), X0")
			a.op("VMOVUPS X0, (DI)")
		} else {
			a.op("VMOVUPS (SI), Y0")
			a.op("VMOVUPS 32(SI), Y1")
			a.op("VMOVUPS Y0, (DI)")
			a.op("VMOVUPS Y1, 32(DI)")
		}
		a.op("ADDQ R9, SI")
		a.op("ADDQ R8, DI")
		a.op("DECQ CX")
		a.op("JNZ loop")
		a.ret()
	}
}
