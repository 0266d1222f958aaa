package main

import "fmt"

// quantise writes the quantiser of activations: blocks of 32 float32 become
// int8 with their scale and sum.
func quantise() string {
	a := newFile()
	constants(a, "magnitude", 0x7fffffff)
	for _, v := range []vec{zmm, ymm} {
		quantiser(a, v)
	}
	return a.String()
}

func quantiser(a *asm, v vec) {
	parts := 32 / v.lanes
	a.fn("quantise"+v.level, "(q *int8, meta, x *float32, blocks int)", 32)
	a.op("MOVQ q+0(FP), DI")
	a.op("MOVQ meta+8(FP), DX")
	a.op("MOVQ x+16(FP), SI")
	a.op("MOVQ blocks+24(FP), CX")
	a.op("VBROADCASTSS magnitude<>(SB), %s", v.r(15))
	a.op("MOVL $0x42fe0000, AX") // 127
	a.op("VMOVD AX, X14")
	a.op("MOVL $0x0da24260, AX") // 1e-30
	a.op("VMOVD AX, X13")
	a.op("MOVL $0x3c010204, AX") // 1/127
	a.op("VMOVD AX, X12")
	a.label("block")
	for i := range parts {
		a.op("VMOVUPS %d(SI), %s", i*v.bytes(), v.r(i))
	}
	// Largest magnitude. Of two NaN-free operands the order does not matter;
	// a NaN ends in sums without meaning, as Acts says.
	for i := range parts {
		and := "VANDPS"
		a.op("%s %s, %s, %s", and, v.r(i), v.r(15), v.r(4+i))
	}
	for n := parts / 2; n > 0; n /= 2 {
		for i := range n {
			a.op("VMAXPS %s, %s, %s", v.r(4+i+n), v.r(4+i), v.r(4+i))
		}
	}
	reduce(a, v, "VMAXPS", 4, 5)
	// X6 = 127/max, X7 = max/127, both 0 for a block too small to count.
	a.op("VDIVSS X4, X14, X6")
	a.op("VMULSS X12, X4, X7")
	a.op("VCMPSS $2, X4, X13, X8") // 1e-30 <= max
	a.op("VANDPS X8, X6, X6")
	a.op("VANDPS X8, X7, X7")
	a.op("VBROADCASTSS X6, %s", v.r(6))
	for i := range parts {
		a.op("VMULPS %s, %s, %s", v.r(6), v.r(i), v.r(i))
		a.op("VCVTPS2DQ %s, %s", v.r(i), v.r(i))
	}
	if v == zmm {
		a.op("VPMOVSDB Z0, (DI)")
		a.op("VPMOVSDB Z1, 16(DI)")
		a.op("VPADDD Z1, Z0, Z4")
	} else {
		a.op("VPADDD Y1, Y0, Y4")
		a.op("VPADDD Y3, Y2, Y5")
		a.op("VPADDD Y5, Y4, Y4")
		a.op("VPACKSSDW Y1, Y0, Y0")
		a.op("VPACKSSDW Y3, Y2, Y2")
		a.op("VPACKSSWB Y2, Y0, Y0")
		// The packs work in halves: 0 2 4 6 | 1 3 5 7 in groups of 4.
		a.op("VEXTRACTI128 $1, Y0, X1")
		a.op("VPUNPCKLDQ X1, X0, X2")
		a.op("VPUNPCKHDQ X1, X0, X3")
		a.op("VMOVDQU X2, (DI)")
		a.op("VMOVDQU X3, 16(DI)")
	}
	reduce(a, v, "VPADDD", 4, 5)
	a.op("VCVTDQ2PS X4, X5")
	a.op("VMULSS X5, X7, X5")
	a.op("VPXOR X6, X6, X6")
	a.op("VPSUBD X4, X6, X4")
	a.op("VMOVSS X7, (DX)")
	a.op("VMOVSS X5, 4(DX)")
	a.op("VMOVD X4, 8(DX)")
	a.op("MOVL $0, 12(DX)")
	a.op("ADDQ $128, SI")
	a.op("ADDQ $32, DI")
	a.op("ADDQ $16, DX")
	a.op("DECQ CX")
	a.op("JNZ block")
	a.ret()
}

// reduce folds all lanes of a register into the first; t is a spare one.
func reduce(a *asm, v vec, op string, r, t int) {
	x := func(i int) string { return fmt.Sprintf("X%d", i) }
	if v == zmm {
		a.op("VEXTRACTF64X4 $1, Z%d, Y%d", r, t)
		a.op("%s Y%d, Y%d, Y%d", op, t, r, r)
	}
	a.op("VEXTRACTF128 $1, Y%d, %s", r, x(t))
	a.op("%s %s, %s, %s", op, x(t), x(r), x(r))
	a.op("VPERMILPS $0x4e, %s, %s", x(r), x(t))
	a.op("%s %s, %s, %s", op, x(t), x(r), x(r))
	a.op("VPERMILPS $0xb1, %s, %s", x(r), x(t))
	a.op("%s %s, %s, %s", op, x(t), x(r), x(r))
}
