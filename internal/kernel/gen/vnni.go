package main

import "fmt"

// The tiles of AVX2 and AVX-VNNI: a panel is two vectors of 8 outputs. The
// order is that of the table in runTile. Six rows leave 4 registers, too few
// for the products of bytes of AVX2, which gain nothing over four rows either.
var (
	shapes2    = []shape{{1, 1}, {2, 1}, {4, 1}}
	shapesVNNI = []shape{{1, 1}, {2, 1}, {4, 1}, {6, 1}}
)

// spills says that the registers hold only the sums of a block: those of the
// whole tile are in the stack frame.
func (s shape) spills() bool { return s.rows > 2 }

// frame is the size of a quantised tile's stack frame: its sums, and what
// aligns them.
func (s shape) frame() int {
	if s.spills() {
		return 64*s.rows + 24
	}
	return 0
}

// vpdpbusd adds the products of the unsigned bytes of w and the signed ones of
// x to the int32 of sum, by fours. It is the VEX form (VEX.256.66.0F38.W0 50
// /r), since the assembler knows the EVEX form alone.
func vpdpbusd(a *asm, x, w, sum int) {
	b1 := 0x42 | (^sum>>3&1)<<7 | (^x>>3&1)<<5
	b2 := 0x05 | (^w&15)<<3
	modRM := 0xc0 | (sum&7)<<3 | x&7
	a.op("LONG $0x50%02x%02xc4; BYTE $0x%02x // VPDPBUSD Y%d, Y%d, Y%d", b2, b1, modRM, x, w, sum)
}

// floatTileYmm is floatTile512 with a panel as two vectors.
func floatTileYmm(a *asm, s shape) {
	sum := func(r, h int) string { return ymm.r(4 + 2*r + h) }
	prologue(a, s)
	xRows.load(a, argX, argXStep, s.rows)
	for r := range s.rows {
		ymm.zero(a, sum(r, 0))
		ymm.zero(a, sum(r, 1))
	}
	a.label("step")
	a.op("VMOVUPS (SI), Y0")
	a.op("VMOVUPS 32(SI), Y1")
	for r := range s.rows {
		t := ymm.r(2 + r%2)
		a.op("VBROADCASTSS %s, %s", xRows.at(r, 0), t)
		a.op("VFMADD231PS Y0, %s, %s", t, sum(r, 0))
		a.op("VFMADD231PS Y1, %s, %s", t, sum(r, 1))
	}
	nextStep(a, s)
	epilogue(a, ymm, s, sum)
}

// quantTileYmm is quantTile512 with a panel as two vectors. Registers: 0 and 1
// weights or scales, 2 an activation or its scale, 3 and what the sums leave of
// 4 to 7 as said below.
type quantTileYmm struct {
	*asm
	shape
	bits, scaling int
	vnni          bool
}

func (t quantTileYmm) isum(r, h int) int {
	if t.rows > 4 {
		return 4 + 2*r + h
	}
	return 8 + 2*r + h
}

// fsum is where the sums of the tile are, or where a block's become them.
func (t quantTileYmm) fsum(r, h int) string {
	if t.spills() {
		return ymm.r(t.isum(r, h))
	}
	return ymm.r(12 + 2*r + h)
}

func (t quantTileYmm) each(f func(r, h int)) {
	for r := range t.rows {
		f(r, 0)
		f(r, 1)
	}
}

func (t quantTileYmm) write() {
	prologue(t.asm, t.shape)
	xRows.load(t.asm, argX, argXStep, t.rows)
	metaRows.load(t.asm, argMeta, argMetaStep, t.rows)
	if t.spills() {
		t.op("LEAQ 31(SP), DI")
		t.op("ANDQ $~31, DI")
		ymm.zero(t.asm, "Y0")
		t.each(func(r, h int) { t.op("VMOVUPS Y0, %d(DI)", 64*r+32*h) })
	} else {
		t.each(func(r, h int) { ymm.zero(t.asm, t.fsum(r, h)) })
	}
	t.label("block")
	t.begin()
	switch {
	case t.bits == 4:
		t.dot4()
	case t.vnni:
		for g := range 8 {
			t.op("VMOVDQU %d(SI), Y0", 64*g)
			t.op("VMOVDQU %d(SI), Y1", 64*g+32)
			t.group(g)
		}
	default:
		t.dot8()
	}
	if !t.vnni {
		t.offset()
	}
	t.fold()
	nextBlock(t.asm, t.shape, t.bits, t.scaling)
	epilogue(t.asm, ymm, t.shape, t.fsum)
}

// begin sets the sums of a block to 0, or to minus the sum of the activations,
// shifted.
func (t quantTileYmm) begin() {
	for r := range t.rows {
		s0, s1 := ymm.r(t.isum(r, 0)), ymm.r(t.isum(r, 1))
		if t.vnni && t.scaling == scaleShift {
			t.op("VPBROADCASTD %s, %s", metaRows.at(r, 8), s0)
			t.op("VPSLLD %d(AX), %s, %s", argShift, s0, s0)
			t.op("VMOVDQA %s, %s", s0, s1)
		} else {
			ymm.zero(t.asm, s0)
			ymm.zero(t.asm, s1)
		}
	}
}

// dot4 multiplies four bits. Without VPDPBUSD: VPMADDUBSW adds two products of
// at most 15*127, and 8 of these stay below 2^15, so a whole block is summed in
// 16 bits.
func (t quantTileYmm) dot4() {
	mask := "Y7"
	if t.vnni {
		mask = "Y3"
	}
	t.op("VMOVDQU nibbles<>(SB), %s", mask)
	for g := range 4 {
		for h := range 2 {
			t.op("VPAND %d(SI), %s, Y%d", 64*g+32*h, mask, h)
		}
		t.group(g)
		for h := range 2 {
			t.op("VMOVDQU %d(SI), Y%d", 64*g+32*h, h)
			t.op("VPSRLD $4, Y%d, Y%[1]d", h)
			t.op("VPAND %s, Y%d, Y%[2]d", mask, h)
		}
		t.group(g + 4)
	}
	if t.vnni {
		return
	}
	t.each(func(r, h int) { t.op("VPMADDWD ones<>(SB), Y%d, Y%[1]d", t.isum(r, h)) })
}

// group multiplies the weights of a group, Y0 and Y1, with the activations.
func (t quantTileYmm) group(g int) {
	for r := range t.rows {
		t.op("VPBROADCASTD %s, Y2", xRows.at(r, 4*g))
		for h := range 2 {
			if t.vnni {
				vpdpbusd(t.asm, 2, h, t.isum(r, h))
			} else {
				t.op("VPMADDUBSW Y2, Y%d, Y3", h)
				t.op("VPADDW Y3, Y%d, Y%[1]d", t.isum(r, h))
			}
		}
	}
}

// dot8 multiplies eight bits without VPDPBUSD. VPMADDUBSW would saturate, so
// Q-128 is taken as magnitude and sign (at most 128*127*2), and the 128 put
// back with the sum of the activations.
func (t quantTileYmm) dot8() {
	t.op("VMOVDQU highs<>(SB), Y6")
	t.op("VMOVDQU ones<>(SB), Y7")
	for g := range 8 {
		for h := range 2 {
			t.op("VPXOR %d(SI), Y6, Y%d", 64*g+32*h, h)
			t.op("VPABSB Y%d, Y%d", h, 4+h)
		}
		for r := range t.rows {
			t.op("VPBROADCASTD %s, Y2", xRows.at(r, 4*g))
			for h := range 2 {
				t.op("VPSIGNB Y%d, Y2, Y3", h)
				t.op("VPMADDUBSW Y3, Y%d, Y3", 4+h)
				t.op("VPMADDWD Y7, Y3, Y3")
				t.op("VPADDD Y3, Y%d, Y%[1]d", t.isum(r, h))
			}
		}
	}
}

// offset adds what begin and dot8 left out: minus the sum of the activations,
// shifted, and for 8 bits the 128 that each Q lacks.
func (t quantTileYmm) offset() {
	if t.scaling != scaleShift && t.bits == 4 {
		return
	}
	for r := range t.rows {
		t.op("VPBROADCASTD %s, Y2", metaRows.at(r, 8))
		if t.scaling == scaleShift {
			t.op("VPSLLD %d(AX), Y2, Y3", argShift)
			for h := range 2 {
				t.op("VPADDD Y3, Y%d, Y%[1]d", t.isum(r, h))
			}
		}
		if t.bits == 8 {
			t.op("VPSLLD $7, Y2, Y2")
			for h := range 2 {
				t.op("VPSUBD Y2, Y%d, Y%[1]d", t.isum(r, h))
			}
		}
	}
}

// fold scales the sums of a block and adds them to those of the tile.
func (t quantTileYmm) fold() {
	half := 16
	if t.scaling == scaleFull {
		half = 32
	}
	memory := func(r, h int) string { return fmt.Sprintf("%d(DI)", 64*r+32*h) }
	for h := range 2 {
		loadScale(t.asm, ymm, t.scaling, "R8", h*half, ymm.r(h))
	}
	t.each(func(r, h int) {
		if h == 0 {
			t.op("VBROADCASTSS %s, Y2", metaRows.at(r, 0))
		}
		t.op("VMULPS Y2, Y%d, Y3", h)
		t.op("VCVTDQ2PS Y%d, Y%[1]d", t.isum(r, h))
		if t.spills() {
			t.op("VFMADD213PS %s, Y3, %s", memory(r, h), t.fsum(r, h))
		} else {
			t.op("VFMADD231PS Y%d, Y3, %s", t.isum(r, h), t.fsum(r, h))
		}
	})
	if t.scaling != scaleShift {
		for h := range 2 {
			loadScale(t.asm, ymm, t.scaling, "R8", scaleM[t.scaling]+h*half, ymm.r(h))
		}
		t.each(func(r, h int) {
			if h == 0 {
				t.op("VBROADCASTSS %s, Y2", metaRows.at(r, 4))
			}
			t.op("VFMADD231PS Y%d, Y2, %s", h, t.fsum(r, h))
		})
	}
	if t.spills() {
		t.each(func(r, h int) { t.op("VMOVUPS %s, %s", t.fsum(r, h), memory(r, h)) })
	}
}
