package main

import "fmt"

// The arm64 assembly. Go's assembler lacks most vector instructions on floats
// and all those on products of bytes, so every instruction that computes on
// vectors is written as its word, with the usual name beside it.

// inst is an instruction on vector registers: its text, with a verb for each
// operand, and its word without them. The operands go to bits 0, 5 and 16; a
// fourth is the index of an element.
type inst struct {
	text string
	word uint32
}

var (
	fadd   = inst{"fadd v%d.4s, v%d.4s, v%d.4s", 0x4e20d400}
	faddp  = inst{"faddp v%d.4s, v%d.4s, v%d.4s", 0x6e20d400}
	fsub   = inst{"fsub v%d.4s, v%d.4s, v%d.4s", 0x4ea0d400}
	fmul   = inst{"fmul v%d.4s, v%d.4s, v%d.4s", 0x6e20dc00}
	fdiv   = inst{"fdiv v%d.4s, v%d.4s, v%d.4s", 0x6e20fc00}
	fmla   = inst{"fmla v%d.4s, v%d.4s, v%d.4s", 0x4e20cc00}
	fmls   = inst{"fmls v%d.4s, v%d.4s, v%d.4s", 0x4ea0cc00}
	fmax   = inst{"fmax v%d.4s, v%d.4s, v%d.4s", 0x4e20f400}
	fmin   = inst{"fmin v%d.4s, v%d.4s, v%d.4s", 0x4ea0f400}
	fcmeq  = inst{"fcmeq v%d.4s, v%d.4s, v%d.4s", 0x4e20e400}
	fcmgt  = inst{"fcmgt v%d.4s, v%d.4s, v%d.4s", 0x6ea0e400}
	fcmge  = inst{"fcmge v%d.4s, v%d.4s, v%d.4s", 0x6e20e400}
	fabs   = inst{"fabs v%d.4s, v%d.4s", 0x4ea0f800}
	fneg   = inst{"fneg v%d.4s, v%d.4s", 0x6ea0f800}
	fmaxv  = inst{"fmaxv s%d, v%d.4s", 0x6e30f800}
	scvtf  = inst{"scvtf v%d.4s, v%d.4s", 0x4e21d800}
	fcvtns = inst{"fcvtns v%d.4s, v%d.4s", 0x4e21a800} // to nearest, ties to even
	fcvtn  = inst{"fcvtn v%d.4h, v%d.4s", 0x0e216800}
	fcvtl  = inst{"fcvtl v%d.4s, v%d.4h", 0x0e217800}
	fcvtl2 = inst{"fcvtl2 v%d.4s, v%d.8h", 0x4e217800}

	// by element
	fmulE = inst{"fmul v%d.4s, v%d.4s, v%d.s[%d]", 0x4f809000}
	fmlaE = inst{"fmla v%d.4s, v%d.4s, v%d.s[%d]", 0x4f801000}
	mulE  = inst{"mul v%d.4s, v%d.4s, v%d.s[%d]", 0x4f808000}
	mlaE  = inst{"mla v%d.4s, v%d.4s, v%d.s[%d]", 0x6f800000}
	sdotE = inst{"sdot v%d.4s, v%d.16b, v%d.4b[%d]", 0x4f80e000}

	sdot    = inst{"sdot v%d.4s, v%d.16b, v%d.16b", 0x4e809400}
	smull   = inst{"smull v%d.8h, v%d.8b, v%d.8b", 0x0e20c000}
	smull2  = inst{"smull2 v%d.8h, v%d.16b, v%d.16b", 0x4e20c000}
	smlal   = inst{"smlal v%d.8h, v%d.8b, v%d.8b", 0x0e208000}
	smlal2  = inst{"smlal2 v%d.8h, v%d.16b, v%d.16b", 0x4e208000}
	saddlpB = inst{"saddlp v%d.8h, v%d.16b", 0x4e202800}
	sadalpB = inst{"sadalp v%d.8h, v%d.16b", 0x4e206800}
	saddlpH = inst{"saddlp v%d.4s, v%d.8h", 0x4e602800}
	sadalpH = inst{"sadalp v%d.4s, v%d.8h", 0x4e606800}
	saddlvH = inst{"saddlv s%d, v%d.8h", 0x4e703800}
	addpH   = inst{"addp v%d.8h, v%d.8h, v%d.8h", 0x4e60bc00}
	addpS   = inst{"addp v%d.4s, v%d.4s, v%d.4s", 0x4ea0bc00}
	addS    = inst{"add v%d.4s, v%d.4s, v%d.4s", 0x4ea08400}
	subS    = inst{"sub v%d.4s, v%d.4s, v%d.4s", 0x6ea08400}
	umaxp   = inst{"umaxp v%d.4s, v%d.4s, v%d.4s", 0x6ea0a400}
	sqxtnS  = inst{"sqxtn v%d.4h, v%d.4s", 0x0e614800}
	sqxtnS2 = inst{"sqxtn2 v%d.8h, v%d.4s", 0x4e614800}
	sqxtnH  = inst{"sqxtn v%d.8b, v%d.8h", 0x0e214800}
	sqxtnH2 = inst{"sqxtn2 v%d.16b, v%d.8h", 0x4e214800}

	and     = inst{"and v%d.16b, v%d.16b, v%d.16b", 0x4e201c00}
	eor     = inst{"eor v%d.16b, v%d.16b, v%d.16b", 0x6e201c00}
	orr     = inst{"orr v%d.16b, v%d.16b, v%d.16b", 0x4ea01c00}
	bit     = inst{"bit v%d.16b, v%d.16b, v%d.16b", 0x6ea01c00} // where the third has ones, the second
	trn1S   = inst{"trn1 v%d.4s, v%d.4s, v%d.4s", 0x4e802800}
	trn2S   = inst{"trn2 v%d.4s, v%d.4s, v%d.4s", 0x4e806800}
	trn1D   = inst{"trn1 v%d.2d, v%d.2d, v%d.2d", 0x4ec02800}
	trn2D   = inst{"trn2 v%d.2d, v%d.2d, v%d.2d", 0x4ec06800}
	highs4  = inst{"ushr v%d.16b, v%d.16b, #4", 0x6f0c0400}
	halve   = inst{"sshr v%d.4s, v%d.4s, #1", 0x4f3f0400}
	shift23 = inst{"shl v%d.4s, v%d.4s, #23", 0x4f375400}
	nibbles = inst{"movi v%d.16b, #15", 0x4f00e5e0}
	signs   = inst{"movi v%d.16b, #128", 0x4f04e400}
	zero    = inst{"movi v%d.2d, #0", 0x6f00e400}
)

// dup copies an element to all.
var dup = [4]inst{
	{"dup v%d.4s, v%d.s[0]", 0x4e040400}, {"dup v%d.4s, v%d.s[1]", 0x4e0c0400},
	{"dup v%d.4s, v%d.s[2]", 0x4e140400}, {"dup v%d.4s, v%d.s[3]", 0x4e1c0400},
}

// v writes a vector instruction, the destination first.
func (a *asm) v(i inst, operands ...int) {
	word := i.word
	args := make([]any, len(operands))
	for k, o := range operands {
		args[k] = o
		if k < 3 {
			word |= uint32(o) << []int{0, 5, 16}[k]
		} else {
			word |= uint32(o&1)<<21 | uint32(o>>1)<<11
		}
	}
	a.op("WORD $0x%08x // %s", word, fmt.Sprintf(i.text, args...))
}

// mov copies a vector.
func (a *asm) mov(d, s int) { a.v(orr, d, s, s) }

// sum4 adds up the four lanes of r, pairs first, into the first; the others
// are lost.
func (a *asm) sum4(r int) {
	a.v(faddp, r, r, r)
	a.v(faddp, r, r, r)
}

// strips writes a loop over the values counted in a register, a positive
// multiple of 4: body for 4 vectors at a time while there are, then for one.
func (a *asm) strips(count string, body func(vectors int)) {
	a.op("CMP $16, %s", count)
	a.op("BLT rest")
	a.label("four")
	body(4)
	a.op("SUB $16, %s", count)
	a.op("CMP $16, %s", count)
	a.op("BGE four")
	a.label("rest")
	a.op("CBZ %s, done", count)
	a.label("loop")
	body(1)
	a.op("SUB $4, %s", count)
	a.op("CBNZ %s, loop", count)
	a.label("done")
}

// arguments loads the arguments, given as name+offset, into R0 and on.
func (a *asm) arguments(names ...string) {
	for i, n := range names {
		a.op("MOVD %s(FP), R%d", n, i)
	}
}

// pointers loads the addresses of some rows into registers from first on: base
// and step are offsets of the arguments in R0.
func (a *asm) pointers(rows, first, base, step int) {
	a.op("MOVD %d(R0), R%d", base, first)
	if rows > 1 {
		a.op("MOVD %d(R0), R19", step)
	}
	for r := 1; r < rows; r++ {
		a.op("ADD R19, R%d, R%d", first+r-1, first+r)
	}
}

// jump goes on at an entry of a table, by its number, with R0 the arguments.
func (a *asm) jump(table string) {
	a.op("MOVD kernel+0(FP), R1")
	a.op("MOVD args+8(FP), R0")
	a.op("MOVD $%s<>(SB), R2", table)
	a.op("MOVD (R2)(R1<<3), R2")
	a.op("JMP (R2)")
}

// neonPeak writes the loops that measure the machine.
func neonPeak() string {
	a := newFile()
	const sums = 24 // V8 and on
	loop := func(name string, body func(sum int)) {
		a.fn(name, "(n int)", 8)
		a.arguments("n+0")
		for i := range 32 {
			a.v(zero, i)
		}
		a.label("loop")
		for i := range sums {
			body(8 + i)
		}
		a.op("SUB $1, R0")
		a.op("CBNZ R0, loop")
		a.op("RET")
	}
	loop("peakFMANEON", func(sum int) { a.v(fmla, sum, 0, 1) })
	loop("peakDotNEON", func(sum int) { a.v([]inst{smlal, smlal2}[sum%2], sum, 0, 1) })
	loop("peakDotNEONDot", func(sum int) { a.v(sdot, sum, 0, 1) })
	a.fn("readAllNEON", "(p *byte, n int)", 16)
	a.arguments("p+0", "n+8")
	a.label("loop")
	for i := range 8 {
		a.op("FLDPQ %d(R0), (F%d, F%d)", 32*i, 2*i, 2*i+1)
	}
	a.op("ADD $256, R0")
	a.op("SUBS $256, R1")
	a.op("BGT loop")
	a.op("RET")
	return a.String()
}

// neonQuantise writes the quantiser of activations.
func neonQuantise() string {
	a := newFile()
	a.fn("quantiseNEON", "(q *int8, meta, x *float32, blocks int)", 32)
	a.arguments("q+0", "meta+8", "x+16", "blocks+24")
	const bound, top, least, part = 20, 21, 22, 23
	for _, c := range []struct {
		reg  int
		bits string
	}{{top, "42fe0000"}, {least, "0da24260"}, {part, "3c010204"}} { // 127, 1e-30, 1/127
		a.op("MOVD $0x%s, R4", c.bits)
		a.op("FMOVS R4, F%d", c.reg)
	}
	a.label("block")
	for i := 0; i < 8; i += 2 {
		a.op("FLDPQ.P 32(R2), (F%d, F%d)", i, i+1)
	}
	for i := range 8 {
		a.v(fabs, 8+i, i)
	}
	for n := 4; n > 0; n /= 2 {
		for i := range n {
			a.v(fmax, 8+i, 8+i, 8+i+n)
		}
	}
	a.v(fmaxv, bound, 8)
	// V16 = 127/max, V17 = max/127, both 0 for a block too small to count.
	a.op("FDIVS F%d, F%d, F16", bound, top)
	a.op("FMULS F%d, F%d, F17", bound, part)
	a.v(fcmge, 18, bound, least)
	a.v(and, 16, 16, 18)
	a.v(and, 17, 17, 18)
	for i := range 8 {
		a.v(fmulE, i, i, 16, 0)
	}
	for i := range 8 {
		a.v(fcvtns, i, i)
	}
	for i := 0; i < 8; i += 2 {
		a.v(sqxtnS, i, i)
		a.v(sqxtnS2, i, i+1)
	}
	for i := 0; i < 8; i += 4 {
		a.v(sqxtnH, i, i)
		a.v(sqxtnH2, i, i+2)
	}
	a.op("FSTPQ.P (F0, F4), 32(R0)")
	a.v(saddlpB, 5, 0)
	a.v(sadalpB, 5, 4)
	a.v(saddlvH, 5, 5)
	a.op("FMOVS F5, R4")
	a.op("SCVTFWS R4, F5")
	a.op("FMULS F17, F5, F5")
	a.op("NEGW R4, R4")
	a.op("FMOVS F17, (R1)")
	a.op("FMOVS F5, 4(R1)")
	a.op("MOVD R4, 8(R1)") // the upper half, zero, with it
	a.op("ADD $16, R1")
	a.op("SUB $1, R3")
	a.op("CBNZ R3, block")
	a.op("RET")
	return a.String()
}
