package main

import (
	"fmt"
	"math"
)

// neonVector writes the functions over slices whose length is a positive
// multiple of 4; vector_arm64.go does the rest.
func neonVector() string {
	a := newFile()
	for i, name := range neonExpOrder {
		for _, c := range expConstants {
			if c.name == name {
				fmt.Fprintf(a, "DATA exps<>+%d(SB)/4, $0x%08x // %s\n", 4*i, math.Float32bits(c.value), name)
			}
		}
	}
	fmt.Fprintf(a, "DATA exps<>+%d(SB)/4, $127 // bias\n", 4*len(neonExpOrder))
	fmt.Fprintf(a, "GLOBL exps<>(SB), RODATA|NOPTR, $%d\n", 4*(len(neonExpOrder)+1))
	neonSum(a)
	neonElementwise(a)
	neonLargest(a)
	neonPlace(a)
	neonExponentials(a)
	neonSiLU(a)
	neonRope(a)
	neonConvert(a)
	return a.String()
}

// load loads n vectors in a row, and moves the pointer on.
func (a *asm) load(pointer string, first, n int) {
	for i := range n {
		a.op("FMOVQ.P 16(%s), F%d", pointer, first+i)
	}
}

// store stores n vectors in a row, and moves the pointer on.
func (a *asm) store(first, n int, pointer string) {
	for i := range n {
		a.op("FMOVQ.P F%d, 16(%s)", first+i, pointer)
	}
}

// all writes an instruction for n vectors in a row: registers count up, but
// those of fixed stay.
func (a *asm) all(i inst, n int, operands []int, fixed ...int) {
	for k := range n {
		o := append([]int{}, operands...)
		for j := range o {
			o[j] += k
		}
		a.v(i, append(o, fixed...)...)
	}
}

func neonSum(a *asm) {
	a.fn("dotNEON", "(a, b *float32, n int) float32", 28)
	a.arguments("a+0", "b+8", "n+16")
	for i := range 4 {
		a.v(zero, i)
	}
	a.strips("R2", func(n int) {
		a.load("R0", 4, n)
		a.load("R1", 8, n)
		a.all(fmla, n, []int{0, 4, 8})
	})
	a.v(fadd, 0, 0, 1)
	a.v(fadd, 2, 2, 3)
	a.v(fadd, 0, 0, 2)
	a.sum4(0)
	a.op("FMOVS F0, ret+24(FP)")
	a.op("RET")
}

func neonElementwise(a *asm) {
	a.fn("axpyNEON", "(alpha float32, x, y *float32, n int)", 32)
	a.op("FMOVS alpha+0(FP), F16")
	a.arguments("x+8", "y+16", "n+24")
	a.strips("R2", func(n int) {
		a.load("R0", 0, n)
		for i := range n {
			a.op("FMOVQ %d(R1), F%d", 16*i, 4+i)
		}
		a.all(fmlaE, n, []int{4, 0}, 16, 0)
		a.store(4, n, "R1")
	})
	a.op("RET")

	a.fn("addNEON", "(dst, a *float32, n int)", 24)
	a.arguments("dst+0", "a+8", "n+16")
	a.strips("R2", func(n int) {
		for i := range n {
			a.op("FMOVQ %d(R0), F%d", 16*i, i)
		}
		a.load("R1", 4, n)
		a.all(fadd, n, []int{0, 0, 4})
		a.store(0, n, "R0")
	})
	a.op("RET")

	a.fn("mulNEON", "(dst, a, b *float32, n int)", 32)
	a.arguments("dst+0", "a+8", "b+16", "n+24")
	a.strips("R3", func(n int) {
		a.load("R1", 0, n)
		a.load("R2", 4, n)
		a.all(fmul, n, []int{0, 0, 4})
		a.store(0, n, "R0")
	})
	a.op("RET")

	a.fn("scaleNEON", "(alpha float32, x *float32, n int)", 24)
	a.op("FMOVS alpha+0(FP), F16")
	a.arguments("x+8", "n+16")
	a.strips("R1", func(n int) {
		for i := range n {
			a.op("FMOVQ %d(R0), F%d", 16*i, i)
		}
		a.all(fmulE, n, []int{0, 0}, 16, 0)
		a.store(0, n, "R0")
	})
	a.op("RET")

	a.fn("scaleByNEON", "(dst, x, w *float32, n int, alpha float32)", 36)
	a.arguments("dst+0", "x+8", "w+16", "n+24")
	a.op("FMOVS alpha+32(FP), F16")
	a.strips("R3", func(n int) {
		a.load("R1", 0, n)
		a.load("R2", 4, n)
		a.all(fmulE, n, []int{0, 0}, 16, 0)
		a.all(fmul, n, []int{0, 0, 4})
		a.store(0, n, "R0")
	})
	a.op("RET")
}

// neonLargest writes the maximum. A comparison with NaN is false, so a NaN
// never takes the place of the maximum so far, as FMAX would have it.
func neonLargest(a *asm) {
	a.fn("maxNEON", "(x *float32, n int) float32", 20)
	a.arguments("x+0", "n+8")
	a.op("MOVD $0xff800000, R2") // -Inf
	a.op("FMOVS R2, F0")
	for i := 3; i >= 0; i-- {
		a.v(dup[0], i, 0)
	}
	a.strips("R1", func(n int) {
		a.load("R0", 4, n)
		a.all(fcmgt, n, []int{8, 4, 0})
		a.all(bit, n, []int{0, 4, 8})
	})
	a.v(fmax, 0, 0, 1)
	a.v(fmax, 2, 2, 3)
	a.v(fmax, 0, 0, 2)
	a.v(fmaxv, 0, 0)
	a.op("FMOVS F0, ret+16(FP)")
	a.op("RET")
}

// neonPlace writes the search for a value: the first 16 that hold it, or n,
// a multiple of 16.
func neonPlace(a *asm) {
	a.fn("indexNEON", "(x *float32, n int, value float32) int", 32)
	a.arguments("x+0", "n+8")
	a.op("FMOVS value+16(FP), F8")
	a.v(dup[0], 8, 8)
	a.op("MOVD $0, R2")
	a.label("loop")
	a.load("R0", 0, 4)
	for i := range 4 {
		a.v(fcmeq, i, i, 8)
	}
	a.v(orr, 0, 0, 1)
	a.v(orr, 2, 2, 3)
	a.v(orr, 0, 0, 2)
	a.v(umaxp, 0, 0, 0)
	a.op("FMOVD F0, R3")
	a.op("CBNZ R3, done")
	a.op("ADD $16, R2")
	a.op("CMP R1, R2")
	a.op("BLT loop")
	a.label("done")
	a.op("MOVD R2, ret+24(FP)")
	a.op("RET")
}

// neonExpOrder is the order of the constants of an exponential, in memory and
// in the registers from neonExps on, where the bias of an exponent follows.
var neonExpOrder = []string{
	"expHigh", "expLow", "log2e", "ln2High", "ln2Low", "exp0", "exp1", "exp2", "exp3", "exp4", "exp5", "one",
}

const neonExps = 16

func neonExp(name string) int {
	for i, n := range neonExpOrder {
		if n == name {
			return neonExps + i
		}
	}
	return neonExps + len(neonExpOrder) // the bias
}

func neonLoadExps(a *asm, scratch string) {
	a.op("MOVD $exps<>(SB), %s", scratch)
	for i := range len(neonExpOrder) + 1 {
		a.op("VLD1R.P 4(%s), [V%d.S4]", scratch, neonExps+i)
	}
}

// neonExponential turns the vectors x.. into e^x and returns where these are;
// y, k and t are spare. FMIN and FMAX keep a NaN.
func neonExponential(a *asm, n, x, y, k, t int) int {
	a.all(fmin, n, []int{x, x}, neonExp("expHigh"))
	a.all(fmax, n, []int{x, x}, neonExp("expLow"))
	a.all(fmul, n, []int{k, x}, neonExp("log2e"))
	a.all(fcvtns, n, []int{k, k})
	a.all(scvtf, n, []int{t, k})
	a.all(fmls, n, []int{x, t}, neonExp("ln2High"))
	a.all(fmls, n, []int{x, t}, neonExp("ln2Low"))
	move := func(to, from int) {
		for i := range n {
			a.mov(to+i, from)
		}
	}
	move(y, neonExp("exp0"))
	for i := 1; i <= 5; i++ {
		move(t, neonExp(fmt.Sprintf("exp%d", i)))
		a.all(fmla, n, []int{t, y, x})
		y, t = t, y
	}
	a.all(fmul, n, []int{t, x, x})
	a.all(fmla, n, []int{x, y, t})
	a.all(fadd, n, []int{x, x}, neonExp("one"))
	// x * 2^k in two steps, as 2^k may be no normal number.
	a.all(halve, n, []int{t, k})
	a.all(subS, n, []int{k, k, t})
	for _, r := range []int{t, k} {
		a.all(addS, n, []int{r, r}, neonExp("bias"))
		a.all(shift23, n, []int{r, r})
		a.all(fmul, n, []int{x, x, r})
	}
	return x
}

func neonExponentials(a *asm) {
	const bias, sum = 30, 31
	for _, store := range []bool{true, false} {
		if store {
			a.fn("expSumNEON", "(dst, src *float32, n int, bias float32) float32", 36)
			a.arguments("dst+0", "src+8", "n+16")
			a.op("FMOVS bias+24(FP), F%d", bias)
		} else {
			a.fn("sumExpNEON", "(src *float32, n int, bias float32) float32", 28)
			a.op("MOVD src+0(FP), R1")
			a.op("MOVD n+8(FP), R2")
			a.op("FMOVS bias+16(FP), F%d", bias)
		}
		a.v(dup[0], bias, bias)
		neonLoadExps(a, "R3")
		a.v(zero, sum)
		a.strips("R2", func(n int) {
			a.load("R1", 0, n)
			a.all(fsub, n, []int{0, 0}, bias)
			y := neonExponential(a, n, 0, 4, 8, 12)
			for i := range n {
				a.v(fadd, sum, sum, y+i)
			}
			if store {
				a.store(y, n, "R0")
			}
		})
		a.sum4(sum)
		if store {
			a.op("FMOVS F%d, ret+32(FP)", sum)
		} else {
			a.op("FMOVS F%d, ret+24(FP)", sum)
		}
		a.op("RET")
	}
}

func neonSiLU(a *asm) {
	a.fn("siluMulNEON", "(dst, gate, up *float32, n int)", 32)
	a.arguments("dst+0", "gate+8", "up+16", "n+24")
	neonLoadExps(a, "R4")
	a.strips("R3", func(n int) {
		for i := range n {
			a.op("FMOVQ %d(R1), F%d", 16*i, i)
		}
		a.all(fneg, n, []int{0, 0})
		y := neonExponential(a, n, 0, 4, 8, 12)
		a.all(fadd, n, []int{y, y}, neonExp("one"))
		a.load("R1", 4, n)
		a.load("R2", 8, n)
		a.all(fdiv, n, []int{4, 4, y})
		a.all(fmul, n, []int{4, 4, 8})
		a.store(4, n, "R0")
	})
	a.op("RET")
}

func neonRope(a *asm) {
	// V0 and V1 are turned into V4 and V5.
	turn := func() {
		a.v(fmul, 4, 0, 2)
		a.v(fmul, 5, 1, 2)
		a.v(fmls, 4, 1, 3)
		a.v(fmla, 5, 0, 3)
	}
	a.fn("ropeHalvesNEON", "(x, y, cos, sin *float32, n int)", 40)
	a.arguments("x+0", "y+8", "cos+16", "sin+24", "n+32")
	a.label("loop")
	a.op("FMOVQ (R0), F0")
	a.op("FMOVQ (R1), F1")
	a.load("R2", 2, 1)
	a.load("R3", 3, 1)
	turn()
	a.store(4, 1, "R0")
	a.store(5, 1, "R1")
	a.op("SUB $4, R4")
	a.op("CBNZ R4, loop")
	a.op("RET")

	// n counts angles.
	a.fn("ropePairsNEON", "(x, cos, sin *float32, n int)", 32)
	a.arguments("x+0", "cos+8", "sin+16", "n+24")
	a.label("loop")
	a.op("VLD2 (R0), [V0.S4, V1.S4]")
	a.load("R1", 2, 1)
	a.load("R2", 3, 1)
	turn()
	a.op("VST2.P [V4.S4, V5.S4], 32(R0)")
	a.op("SUB $4, R3")
	a.op("CBNZ R3, loop")
	a.op("RET")
}

// neonConvert writes the conversions between float32 and half precision.
func neonConvert(a *asm) {
	a.fn("toHalfNEON", "(dst *uint16, src *float32, n int)", 24)
	a.arguments("dst+0", "src+8", "n+16")
	a.label("loop")
	a.load("R1", 0, 1)
	a.v(fcvtn, 0, 0)
	a.op("FMOVD.P F0, 8(R0)")
	a.op("SUB $4, R2")
	a.op("CBNZ R2, loop")
	a.op("RET")

	a.fn("fromHalfNEON", "(dst *float32, src *uint16, n int)", 24)
	a.arguments("dst+0", "src+8", "n+16")
	a.label("loop")
	a.op("FMOVD.P 8(R1), F0")
	a.v(fcvtl, 0, 0)
	a.store(0, 1, "R0")
	a.op("SUB $4, R2")
	a.op("CBNZ R2, loop")
	a.op("RET")
}
