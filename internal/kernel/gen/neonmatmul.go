package main

import "fmt"

// Offsets in tileArgs (matmul_arm64.go).
const (
	neonW = 8 * iota
	neonS
	neonX
	neonXStep
	neonMeta
	neonMetaStep
	neonC
	neonCStep
	neonSteps
	neonFactor
	neonAdd
)

// neonShape is a tile: rows of activations by vectors of 4 outputs, 4 for a
// panel and 2 for half of one.
type neonShape struct{ rows, vecs int }

func (s neonShape) String() string { return fmt.Sprintf("%dx%d", s.rows, 4*s.vecs) }

// The tiles of float32, of NEON and of NEONDot; the order is that of the table
// in runTile, which matmul_arm64.go knows.
var (
	neonFloat = []neonShape{{1, 4}, {2, 4}, {4, 4}, {6, 4}}
	neonBase  = []neonShape{{1, 4}, {2, 4}}
	neonDot   = []neonShape{{1, 4}, {2, 4}, {4, 2}, {6, 2}}
)

// neonMatmul writes the tiles of MatMul and runTile, which jumps to one of them.
func neonMatmul() string {
	a := newFile()
	var table []string
	define := func(name string, body func()) {
		fmt.Fprintf(a, "\n// %s: R0 is the tileArgs.\nTEXT %s<>(SB), NOSPLIT, $0-0\n", name, name)
		body()
		table = append(table, name)
	}
	for _, s := range neonFloat {
		define("f32_"+s.String(), func() { neonFloatTile(a, s) })
	}
	for _, l := range []struct {
		name   string
		shapes []neonShape
		tile   func(a *asm, s neonShape, bits, scaling int)
	}{{"neon", neonBase, neonQuantTile}, {"dot", neonDot, dotTile}} {
		for _, s := range l.shapes {
			for _, bits := range []int{4, 8} {
				for scaling, n := range scaleNames {
					define(fmt.Sprintf("q%d%s_%s_%v", bits, n, l.name, s), func() { l.tile(a, s, bits, scaling) })
				}
			}
		}
	}
	a.table("tiles", table)
	a.fn("runTile", "(kernel int, args *tileArgs)", 16)
	a.jump("tiles")
	return a.String()
}

// Registers: R1 quants or floats, R2 scales, R5 steps, R6 and on the rows of
// activations, R12 and on their scales and sums, R20 the factor.

func neonPrologue(a *asm, s neonShape, quantised bool) {
	a.op("MOVD %d(R0), R1", neonW)
	a.op("MOVD %d(R0), R5", neonSteps)
	a.pointers(s.rows, 6, neonX, neonXStep)
	if quantised {
		a.op("MOVD %d(R0), R2", neonS)
		a.op("ADD $%d, R0, R20", neonFactor)
		a.pointers(s.rows, 12, neonMeta, neonMetaStep)
	}
}

// neonEpilogue stores the sums, or adds them to c.
func neonEpilogue(a *asm, s neonShape, sum func(r, v int) int) {
	a.op("MOVD %d(R0), R3", neonC)
	a.op("MOVD %d(R0), R4", neonCStep)
	a.op("MOVD %d(R0), R5", neonAdd)
	a.op("CBZ R5, store")
	a.op("MOVD R3, R6")
	for r := range s.rows {
		for v := 0; v < s.vecs; v += 2 {
			a.op("FLDPQ %d(R6), (F0, F1)", 16*v)
			a.v(fadd, sum(r, v), sum(r, v), 0)
			a.v(fadd, sum(r, v+1), sum(r, v+1), 1)
		}
		if r < s.rows-1 {
			a.op("ADD R4, R6")
		}
	}
	a.label("store")
	for r := range s.rows {
		for v := 0; v < s.vecs; v += 2 {
			a.op("FSTPQ (F%d, F%d), %d(R3)", sum(r, v), sum(r, v+1), 16*v)
		}
		if r < s.rows-1 {
			a.op("ADD R4, R3")
		}
	}
	a.op("RET")
}

// neonFloatTile writes a tile of float32 weights; the steps are columns, four
// at a time while there are.
func neonFloatTile(a *asm, s neonShape) {
	sum := func(r, v int) int { return 8 + r*s.vecs + v }
	neonPrologue(a, s, false)
	for r := range s.rows {
		for v := range s.vecs {
			a.v(zero, sum(r, v))
		}
	}
	column := func(e int) {
		for v := range s.vecs {
			a.op("FMOVQ %d(R1), F%d", 16*(e*s.vecs+v), 6+v%2)
			for r := range s.rows {
				a.v(fmlaE, sum(r, v), 6+v%2, r, e)
			}
		}
	}
	a.op("CMP $4, R5")
	a.op("BLT rest")
	a.label("four")
	for r := range s.rows {
		a.op("FMOVQ.P 16(R%d), F%d", 6+r, r)
	}
	for e := range 4 {
		column(e)
	}
	a.op("ADD $256, R1")
	a.op("SUB $4, R5")
	a.op("CMP $4, R5")
	a.op("BGE four")
	a.label("rest")
	a.op("CBZ R5, done")
	a.label("step")
	for r := range s.rows {
		a.op("FMOVS.P 4(R%d), F%d", 6+r, r)
	}
	column(0)
	a.op("ADD $64, R1")
	a.op("SUB $1, R5")
	a.op("CBNZ R5, step")
	a.label("done")
	neonEpilogue(a, s, sum)
}

// hasFactor says whether a multiple of minus the sum of the activations goes
// into the integer sum: the offset of scaleShift, and what 8 bits lack as they
// are taken as Q-128.
func hasFactor(bits, scaling int) bool { return bits == 8 || scaling == scaleShift }

// dotTile writes a tile of quantised weights for NEONDot. SDOT by element takes
// four columns of a row of activations from a quarter of a register, so
// nothing needs a broadcast.
func dotTile(a *asm, s neonShape, bits, scaling int) {
	pool := 32 - 2*s.rows*s.vecs // registers that hold no sums
	isum := func(r, v int) int { return pool + r*s.vecs + v }
	fsum := func(r, v int) int { return pool + (s.rows+r)*s.vecs + v }
	neonPrologue(a, s, true)
	for r := range s.rows {
		for v := range s.vecs {
			a.v(zero, fsum(r, v))
		}
	}
	const mask = 0
	if bits == 4 {
		a.v(nibbles, mask)
	} else {
		a.v(signs, mask)
	}
	a.label("block")
	if hasFactor(bits, scaling) {
		a.op("VLD1R (R20), [V1.S4]")
	}
	for r := range s.rows {
		meta := 2 + r%2
		if hasFactor(bits, scaling) {
			a.op("FMOVQ (R%d), F%d", 12+r, meta)
		}
		for v := range s.vecs {
			if hasFactor(bits, scaling) {
				a.v(mulE, isum(r, v), 1, meta, 2)
			} else {
				a.v(zero, isum(r, v))
			}
		}
	}
	multiply := func(v, w, x, step, g int) {
		for r := range s.rows {
			a.v(sdotE, isum(r, v), w, x+r*step, g)
		}
	}
	load := func(g, v, w int) { a.op("FMOVQ %d(R1), F%d", 64*g+16*v, w) }
	switch {
	case bits == 4 && 5+2*s.rows <= pool:
		// Both halves of the nibbles at once, and two sets of registers.
		const x = 5
		for r := range s.rows {
			a.op("FLDPQ.P 32(R%d), (F%d, F%d)", 6+r, x+2*r, x+2*r+1)
		}
		for g := range 4 {
			for v := range s.vecs {
				low, high := 1+2*(v%2), 2+2*(v%2)
				load(g, v, high)
				a.v(and, low, high, mask)
				a.v(highs4, high, high)
				multiply(v, low, x, 2, g)
				multiply(v, high, x+1, 2, g)
			}
		}
	default:
		// 16 columns after the other.
		sets := 1
		if 3+s.rows <= pool {
			sets = 2
		}
		x := 1 + sets
		for h := range 2 {
			for r := range s.rows {
				a.op("FMOVQ.P 16(R%d), F%d", 6+r, x+r)
			}
			for g := range 4 {
				for v := range s.vecs {
					w := 1 + v%sets
					switch {
					case bits == 8:
						load(4*h+g, v, w)
						a.v(eor, w, w, mask)
					case h == 0:
						load(g, v, w)
						a.v(and, w, w, mask)
					default:
						load(g, v, w)
						a.v(highs4, w, w)
					}
					multiply(v, w, x, 1, g)
				}
			}
		}
	}
	var free []int
	for i := 1; i < pool; i++ {
		free = append(free, i)
	}
	neonScale(a, s, scaling, free, isum, fsum)
	neonNextBlock(a, bits, scaling)
	neonEpilogue(a, s, fsum)
}

// neonScale adds the scaled integer sums to the float32 ones.
func neonScale(a *asm, s neonShape, scaling int, free []int, isum, fsum func(r, v int) int) {
	d, m, meta := free[:s.vecs], free[s.vecs:2*s.vecs], free[2*s.vecs:]
	neonLoadScales(a, scaling, 0, d)
	if scaling != scaleShift {
		neonLoadScales(a, scaling, scaleM[scaling], m)
	}
	for r := range s.rows {
		t := meta[r%2]
		a.op("FMOVQ.P 16(R%d), F%d", 12+r, t)
		for v := range s.vecs {
			a.v(scvtf, isum(r, v), isum(r, v))
		}
		for v := range s.vecs {
			a.v(fmul, isum(r, v), isum(r, v), d[v])
		}
		for v := range s.vecs {
			a.v(fmlaE, fsum(r, v), isum(r, v), t, 0)
		}
		if scaling != scaleShift {
			for v := range s.vecs {
				a.v(fmlaE, fsum(r, v), m[v], t, 1)
			}
		}
	}
}

// neonLoadScales loads scales as float32.
func neonLoadScales(a *asm, scaling, off int, to []int) {
	for v := 0; v < len(to); v += 2 {
		if scaling == scaleFull {
			a.op("FLDPQ %d(R2), (F%d, F%d)", off+16*v, to[v], to[v+1])
			continue
		}
		a.op("FMOVQ %d(R2), F%d", off+8*v, to[v+1])
		a.v(fcvtl, to[v], to[v+1])
		a.v(fcvtl2, to[v+1], to[v+1])
	}
}

func neonNextBlock(a *asm, bits, scaling int) {
	a.op("ADD $%d, R1", 64*bits)
	a.op("ADD $%d, R2", scaleBytes[scaling])
	a.op("SUB $1, R5")
	a.op("CBNZ R5, block")
}

// neonQuantTile writes a tile of quantised weights for NEON: products of bytes
// as 16 bits, of the first two outputs of a vector and of the last two.
//
// Four bits: 8 products of at most 15*127 stay below 2^15, and so do two such
// sums, so a whole block is summed in 16 bits. Eight bits: Q-128 times an
// activation is at most 128*127, two of which stay below 2^15; then they are
// added up in 32 bits.
func neonQuantTile(a *asm, s neonShape, bits, scaling int) {
	pool := 32 - 3*s.rows*s.vecs
	acc := func(r, v, h int) int { return pool + (h*s.rows+r)*s.vecs + v }
	isum := func(r, v int) int { return acc(r, v, 0) }
	fsum := func(r, v int) int { return acc(r, v, 2) }
	neonPrologue(a, s, true)
	for r := range s.rows {
		for v := range s.vecs {
			a.v(zero, fsum(r, v))
		}
	}
	const mask = 0
	if bits == 4 {
		a.v(nibbles, mask)
	} else {
		a.v(signs, mask)
	}
	a.label("block")
	if bits == 4 {
		const w, x, cast = 1, 3, 5
		for g := range 8 {
			for r := range s.rows {
				if g%4 == 0 {
					a.op("FMOVQ.P 16(R%d), F%d", 6+r, x+r)
				}
				a.v(dup[g%4], cast+r, x+r)
			}
			for v := range s.vecs {
				w := w + v%2
				a.op("FMOVQ %d(R1), F%d", 64*(g%4)+16*v, w)
				if g < 4 {
					a.v(and, w, w, mask)
				} else {
					a.v(highs4, w, w)
				}
				for r := range s.rows {
					low, high := smlal, smlal2
					if g == 0 {
						low, high = smull, smull2
					}
					a.v(low, acc(r, v, 0), w, cast+r)
					a.v(high, acc(r, v, 1), w, cast+r)
				}
			}
		}
		for r := range s.rows {
			for v := range s.vecs {
				a.v(addpH, isum(r, v), acc(r, v, 0), acc(r, v, 1))
				a.v(saddlpH, isum(r, v), isum(r, v))
			}
		}
	} else {
		const w, t, cast = 1, 3, 4
		for g := 0; g < 8; g += 2 {
			for r := range s.rows {
				for i := range 2 {
					a.op("VLD1R.P 4(R%d), [V%d.S4]", 6+r, cast+2*r+i)
				}
			}
			for v := range s.vecs {
				for i := range 2 {
					a.op("FMOVQ %d(R1), F%d", 64*(g+i)+16*v, w+i)
					a.v(eor, w+i, w+i, mask)
				}
				for r := range s.rows {
					for h := range 2 {
						a.v([]inst{smull, smull2}[h], t, w, cast+2*r)
						a.v([]inst{smlal, smlal2}[h], t, w+1, cast+2*r+1)
						if g == 0 {
							a.v(saddlpH, acc(r, v, h), t)
						} else {
							a.v(sadalpH, acc(r, v, h), t)
						}
					}
				}
			}
		}
		for r := range s.rows {
			for v := range s.vecs {
				a.v(addpS, isum(r, v), acc(r, v, 0), acc(r, v, 1))
			}
		}
	}
	if hasFactor(bits, scaling) {
		a.op("VLD1R (R20), [V1.S4]")
		for r := range s.rows {
			a.op("FMOVQ (R%d), F2", 12+r)
			for v := range s.vecs {
				a.v(mlaE, isum(r, v), 1, 2, 2)
			}
		}
	}
	var free []int
	for r := range s.rows {
		for v := range s.vecs {
			free = append(free, acc(r, v, 1))
		}
	}
	for i := 1; i < pool; i++ {
		free = append(free, i)
	}
	neonScale(a, s, scaling, free, isum, fsum)
	neonNextBlock(a, bits, scaling)
	neonEpilogue(a, s, fsum)
}
