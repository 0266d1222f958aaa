package main

import (
	"fmt"
	"math"
)

// Coefficients of e^r on |r| <= ln(2)/2 and the parts of ln(2), as in Moshier's
// Cephes library (expf).
var expConstants = []struct {
	name  string
	value float32
}{
	{"expHigh", 89}, // above, the result is infinite anyway
	{"expLow", -104},
	{"log2e", math.Log2E},
	{"ln2High", 0.693359375},
	{"ln2Low", -2.12194440e-4},
	{"exp0", 1.9875691500e-4},
	{"exp1", 1.3981999507e-3},
	{"exp2", 8.3334519073e-3},
	{"exp3", 4.1665795894e-2},
	{"exp4", 1.6666665459e-1},
	{"exp5", 5.0000001201e-1},
	{"one", 1},
	{"minusInf", float32(math.Inf(-1))},
}

// vector writes the functions over slices whose length is a positive multiple
// of the lanes; vector_amd64.go does the rest.
func vector() string {
	a := newFile()
	for _, c := range expConstants {
		// As long as the widest vector, so that any can read it.
		for i := range 16 {
			fmt.Fprintf(a, "DATA %s<>+%d(SB)/4, $0x%08x\n", c.name, 4*i, math.Float32bits(c.value))
		}
		fmt.Fprintf(a, "GLOBL %s<>(SB), RODATA|NOPTR, $64\n", c.name)
	}
	for i := range 8 {
		fmt.Fprintf(a, "DATA bias<>+%d(SB)/4, $127\n", 4*i)
	}
	a.WriteString("GLOBL bias<>(SB), RODATA|NOPTR, $32\n")
	for _, v := range []vec{zmm, ymm} {
		dot(a, v)
		elementwise(a, v)
		largest(a, v)
		place(a, v)
		exponentials(a, v)
		silu(a, v)
		rope(a, v)
		convert(a, v)
	}
	return a.String()
}

// next ends a loop over vectors: the pointers go on by one.
func next(a *asm, v vec, count string, pointers ...string) {
	for _, p := range pointers {
		a.op("ADDQ $%d, %s", v.bytes(), p)
	}
	a.op("SUBQ $%d, %s", v.lanes, count)
	a.op("JNZ loop")
}

func dot(a *asm, v vec) {
	a.fn("dot"+v.level, "(a, b *float32, n int) float32", 28)
	a.op("MOVQ a+0(FP), SI")
	a.op("MOVQ b+8(FP), DI")
	a.op("MOVQ n+16(FP), CX")
	for i := range 4 {
		v.zero(a, v.r(i))
	}
	a.op("CMPQ CX, $%d", 4*v.lanes)
	a.op("JLT rest")
	a.label("four")
	for i := range 4 {
		a.op("VMOVUPS %d(SI), %s", i*v.bytes(), v.r(4+i))
	}
	for i := range 4 {
		a.op("VFMADD231PS %d(DI), %s, %s", i*v.bytes(), v.r(4+i), v.r(i))
	}
	a.op("ADDQ $%d, SI", 4*v.bytes())
	a.op("ADDQ $%d, DI", 4*v.bytes())
	a.op("SUBQ $%d, CX", 4*v.lanes)
	a.op("CMPQ CX, $%d", 4*v.lanes)
	a.op("JGE four")
	a.label("rest")
	a.op("TESTQ CX, CX")
	a.op("JZ done")
	a.label("loop")
	a.op("VMOVUPS (SI), %s", v.r(4))
	a.op("VFMADD231PS (DI), %s, %s", v.r(4), v.r(0))
	next(a, v, "CX", "SI", "DI")
	a.label("done")
	a.op("VADDPS %s, %s, %s", v.r(1), v.r(0), v.r(0))
	a.op("VADDPS %s, %s, %s", v.r(3), v.r(2), v.r(2))
	a.op("VADDPS %s, %s, %s", v.r(2), v.r(0), v.r(0))
	reduce(a, v, "VADDPS", 0, 1)
	a.op("VMOVSS X0, ret+24(FP)")
	a.ret()
}

func elementwise(a *asm, v vec) {
	a.fn("axpy"+v.level, "(alpha float32, x, y *float32, n int)", 32)
	a.op("VBROADCASTSS alpha+0(FP), %s", v.r(0))
	a.op("MOVQ x+8(FP), SI")
	a.op("MOVQ y+16(FP), DI")
	a.op("MOVQ n+24(FP), CX")
	a.label("loop")
	a.op("VMOVUPS (DI), %s", v.r(1))
	a.op("VFMADD231PS (SI), %s, %s", v.r(0), v.r(1))
	a.op("VMOVUPS %s, (DI)", v.r(1))
	next(a, v, "CX", "SI", "DI")
	a.ret()

	a.fn("add"+v.level, "(dst, a *float32, n int)", 24)
	a.op("MOVQ dst+0(FP), DI")
	a.op("MOVQ a+8(FP), SI")
	a.op("MOVQ n+16(FP), CX")
	a.label("loop")
	a.op("VMOVUPS (DI), %s", v.r(0))
	a.op("VADDPS (SI), %s, %s", v.r(0), v.r(0))
	a.op("VMOVUPS %s, (DI)", v.r(0))
	next(a, v, "CX", "SI", "DI")
	a.ret()

	a.fn("mul"+v.level, "(dst, a, b *float32, n int)", 32)
	a.op("MOVQ dst+0(FP), DI")
	a.op("MOVQ a+8(FP), SI")
	a.op("MOVQ b+16(FP), DX")
	a.op("MOVQ n+24(FP), CX")
	a.label("loop")
	a.op("VMOVUPS (SI), %s", v.r(0))
	a.op("VMULPS (DX), %s, %s", v.r(0), v.r(0))
	a.op("VMOVUPS %s, (DI)", v.r(0))
	next(a, v, "CX", "SI", "DX", "DI")
	a.ret()

	a.fn("scale"+v.level, "(alpha float32, x *float32, n int)", 24)
	a.op("VBROADCASTSS alpha+0(FP), %s", v.r(0))
	a.op("MOVQ x+8(FP), DI")
	a.op("MOVQ n+16(FP), CX")
	a.label("loop")
	a.op("VMULPS (DI), %s, %s", v.r(0), v.r(1))
	a.op("VMOVUPS %s, (DI)", v.r(1))
	next(a, v, "CX", "DI")
	a.ret()

	a.fn("scaleBy"+v.level, "(dst, x, w *float32, n int, alpha float32)", 36)
	a.op("MOVQ dst+0(FP), DI")
	a.op("MOVQ x+8(FP), SI")
	a.op("MOVQ w+16(FP), DX")
	a.op("MOVQ n+24(FP), CX")
	a.op("VBROADCASTSS alpha+32(FP), %s", v.r(0))
	a.label("loop")
	a.op("VMULPS (SI), %s, %s", v.r(0), v.r(1))
	a.op("VMULPS (DX), %s, %s", v.r(1), v.r(1))
	a.op("VMOVUPS %s, (DI)", v.r(1))
	next(a, v, "CX", "SI", "DX", "DI")
	a.ret()
}

// largest writes the maximum; VMAXPS gives its second source when one is NaN,
// here the maximum so far, which never is.
func largest(a *asm, v vec) {
	a.fn("max"+v.level, "(x *float32, n int) float32", 20)
	a.op("MOVQ x+0(FP), SI")
	a.op("MOVQ n+8(FP), CX")
	a.op("VMOVUPS minusInf<>(SB), %s", v.r(0))
	a.label("loop")
	a.op("VMOVUPS (SI), %s", v.r(1))
	a.op("VMAXPS %s, %s, %s", v.r(0), v.r(1), v.r(0))
	next(a, v, "CX", "SI")
	reduce(a, v, "VMAXPS", 0, 1)
	a.op("VMOVSS X0, ret+16(FP)")
	a.ret()
}

// place writes the search for a value: its first place, or n.
func place(a *asm, v vec) {
	a.fn("index"+v.level, "(x *float32, n int, value float32) int", 32)
	a.op("MOVQ x+0(FP), SI")
	a.op("MOVQ n+8(FP), CX")
	a.op("VBROADCASTSS value+16(FP), %s", v.r(0))
	a.op("XORQ DX, DX")
	a.label("loop")
	if v == zmm {
		a.op("VCMPPS $0, (SI)(DX*4), Z0, K1")
		a.op("KMOVW K1, AX")
	} else {
		a.op("VCMPPS $0, (SI)(DX*4), Y0, Y1")
		a.op("VMOVMSKPS Y1, AX")
	}
	a.op("TESTL AX, AX")
	a.op("JNZ found")
	a.op("ADDQ $%d, DX", v.lanes)
	a.op("CMPQ DX, CX")
	a.op("JLT loop")
	a.op("JMP done")
	a.label("found")
	a.op("BSFL AX, AX")
	a.op("ADDQ AX, DX")
	a.label("done")
	a.op("MOVQ DX, ret+24(FP)")
	a.ret()
}

// expClamps loads the registers 14 and 15 that exponential needs.
func expClamps(a *asm, v vec) {
	a.op("VMOVUPS expHigh<>(SB), %s", v.r(14))
	a.op("VMOVUPS expLow<>(SB), %s", v.r(15))
}

// exponential turns x into e^x in y; n and t are spare.
func exponential(a *asm, v vec, x, y, n, t string) {
	// With x as the second source a NaN stays NaN.
	a.op("VMINPS %s, %s, %s", x, v.r(14), x)
	a.op("VMAXPS %s, %s, %s", x, v.r(15), x)
	a.op("VMULPS log2e<>(SB), %s, %s", x, n)
	if v == zmm {
		a.op("VRNDSCALEPS $8, %s, %s", n, n)
	} else {
		a.op("VROUNDPS $8, %s, %s", n, n)
	}
	a.op("VFNMADD231PS ln2High<>(SB), %s, %s", n, x)
	a.op("VFNMADD231PS ln2Low<>(SB), %s, %s", n, x)
	a.op("VMOVUPS exp0<>(SB), %s", y)
	for i := 1; i <= 5; i++ {
		a.op("VFMADD213PS exp%d<>(SB), %s, %s", i, x, y)
	}
	a.op("VMULPS %s, %s, %s", x, x, t)
	a.op("VFMADD213PS %s, %s, %s", x, t, y)
	a.op("VADDPS one<>(SB), %s, %s", y, y)
	if v == zmm {
		a.op("VSCALEFPS %s, %s, %s", n, y, y)
		return
	}
	// y * 2^n in two steps, as 2^n may be no normal number.
	a.op("VCVTPS2DQ %s, %s", n, n)
	a.op("VPSRAD $1, %s, %s", n, t)
	a.op("VPSUBD %s, %s, %s", t, n, n)
	for _, r := range []string{t, n} {
		a.op("VPADDD bias<>(SB), %s, %s", r, r)
		a.op("VPSLLD $23, %s, %s", r, r)
		a.op("VMULPS %s, %s, %s", r, y, y)
	}
}

func exponentials(a *asm, v vec) {
	for _, store := range []bool{true, false} {
		if store {
			a.fn("expSum"+v.level, "(dst, src *float32, n int, bias float32) float32", 36)
			a.op("MOVQ dst+0(FP), DI")
			a.op("MOVQ src+8(FP), SI")
			a.op("MOVQ n+16(FP), CX")
			a.op("VBROADCASTSS bias+24(FP), %s", v.r(1))
		} else {
			a.fn("sumExp"+v.level, "(src *float32, n int, bias float32) float32", 28)
			a.op("MOVQ src+0(FP), SI")
			a.op("MOVQ n+8(FP), CX")
			a.op("VBROADCASTSS bias+16(FP), %s", v.r(1))
		}
		expClamps(a, v)
		v.zero(a, v.r(0))
		a.label("loop")
		a.op("VMOVUPS (SI), %s", v.r(2))
		a.op("VSUBPS %s, %s, %s", v.r(1), v.r(2), v.r(2))
		exponential(a, v, v.r(2), v.r(3), v.r(4), v.r(5))
		a.op("VADDPS %s, %s, %s", v.r(3), v.r(0), v.r(0))
		if store {
			a.op("VMOVUPS %s, (DI)", v.r(3))
			next(a, v, "CX", "SI", "DI")
		} else {
			next(a, v, "CX", "SI")
		}
		reduce(a, v, "VADDPS", 0, 1)
		if store {
			a.op("VMOVSS X0, ret+32(FP)")
		} else {
			a.op("VMOVSS X0, ret+24(FP)")
		}
		a.ret()
	}
}

func silu(a *asm, v vec) {
	a.fn("siluMul"+v.level, "(dst, gate, up *float32, n int)", 32)
	a.op("MOVQ dst+0(FP), DI")
	a.op("MOVQ gate+8(FP), SI")
	a.op("MOVQ up+16(FP), DX")
	a.op("MOVQ n+24(FP), CX")
	expClamps(a, v)
	v.zero(a, v.r(6))
	a.label("loop")
	a.op("VMOVUPS (SI), %s", v.r(0))
	a.op("VSUBPS %s, %s, %s", v.r(0), v.r(6), v.r(2))
	exponential(a, v, v.r(2), v.r(3), v.r(4), v.r(5))
	a.op("VADDPS one<>(SB), %s, %s", v.r(3), v.r(3))
	a.op("VDIVPS %s, %s, %s", v.r(3), v.r(0), v.r(0))
	a.op("VMULPS (DX), %s, %s", v.r(0), v.r(0))
	a.op("VMOVUPS %s, (DI)", v.r(0))
	next(a, v, "CX", "SI", "DX", "DI")
	a.ret()
}

func rope(a *asm, v vec) {
	a.fn("ropeHalves"+v.level, "(x, y, cos, sin *float32, n int)", 40)
	a.op("MOVQ x+0(FP), SI")
	a.op("MOVQ y+8(FP), DI")
	a.op("MOVQ cos+16(FP), R8")
	a.op("MOVQ sin+24(FP), R9")
	a.op("MOVQ n+32(FP), CX")
	a.label("loop")
	a.op("VMOVUPS (SI), %s", v.r(0))
	a.op("VMOVUPS (DI), %s", v.r(1))
	a.op("VMOVUPS (R8), %s", v.r(2))
	a.op("VMOVUPS (R9), %s", v.r(3))
	a.op("VMULPS %s, %s, %s", v.r(2), v.r(0), v.r(4))
	a.op("VMULPS %s, %s, %s", v.r(2), v.r(1), v.r(5))
	a.op("VFNMADD231PS %s, %s, %s", v.r(3), v.r(1), v.r(4))
	a.op("VFMADD231PS %s, %s, %s", v.r(3), v.r(0), v.r(5))
	a.op("VMOVUPS %s, (SI)", v.r(4))
	a.op("VMOVUPS %s, (DI)", v.r(5))
	next(a, v, "CX", "SI", "DI", "R8", "R9")
	a.ret()

	// n counts values, so half a vector of angles is used at a time.
	a.fn("ropePairs"+v.level, "(x, cos, sin *float32, n int)", 32)
	a.op("MOVQ x+0(FP), SI")
	a.op("MOVQ cos+8(FP), R8")
	a.op("MOVQ sin+16(FP), R9")
	a.op("MOVQ n+24(FP), CX")
	a.label("loop")
	a.op("VMOVUPS (SI), %s", v.r(0))
	a.op("VPMOVZXDQ (R8), %s", v.r(1))
	a.op("VPMOVZXDQ (R9), %s", v.r(2))
	a.op("VMOVSLDUP %s, %s", v.r(1), v.r(1))
	a.op("VMOVSLDUP %s, %s", v.r(2), v.r(2))
	a.op("VPERMILPS $0xb1, %s, %s", v.r(0), v.r(3))
	a.op("VMULPS %s, %s, %s", v.r(2), v.r(3), v.r(3))
	a.op("VFMADDSUB213PS %s, %s, %s", v.r(3), v.r(1), v.r(0))
	a.op("VMOVUPS %s, (SI)", v.r(0))
	a.op("ADDQ $%d, R8", v.bytes()/2)
	a.op("ADDQ $%d, R9", v.bytes()/2)
	next(a, v, "CX", "SI")
	a.ret()
}

// convert writes the conversions between float32 and half precision.
func convert(a *asm, v vec) {
	a.fn("toHalf"+v.level, "(dst *uint16, src *float32, n int)", 24)
	a.op("MOVQ dst+0(FP), DI")
	a.op("MOVQ src+8(FP), SI")
	a.op("MOVQ n+16(FP), CX")
	a.label("loop")
	a.op("VMOVUPS (SI), %s", v.r(0))
	a.op("VCVTPS2PH $0, %s, (DI)", v.r(0))
	a.op("ADDQ $%d, DI", v.bytes()/2)
	next(a, v, "CX", "SI")
	a.ret()

	a.fn("fromHalf"+v.level, "(dst *float32, src *uint16, n int)", 24)
	a.op("MOVQ dst+0(FP), DI")
	a.op("MOVQ src+8(FP), SI")
	a.op("MOVQ n+16(FP), CX")
	a.label("loop")
	a.op("VCVTPH2PS (SI), %s", v.r(0))
	a.op("VMOVUPS %s, (DI)", v.r(0))
	a.op("ADDQ $%d, SI", v.bytes()/2)
	next(a, v, "CX", "DI")
	a.ret()
}
