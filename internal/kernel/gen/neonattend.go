package main

import "fmt"

// neonAttendShapes are the numbers of rows a function takes at a time, with
// the width of a wide part of a row of values, in vectors of 4; the order is
// that of the table in runAttend, which attend_arm64.go knows.
var neonAttendShapes = []struct{ rows, wide int }{{1, 16}, {2, 8}, {4, 4}, {6, 4}}

// neonAttend writes the products of attention with keys and values in half
// precision. The arguments are at the offsets of attend.go.
func neonAttend() string {
	a := newFile()
	var table []string
	define := func(name string, body func()) {
		fmt.Fprintf(a, "\n// %s: R0 is the attendArgs.\nTEXT %s<>(SB), NOSPLIT, $0-0\n", name, name)
		body()
	}
	for _, s := range neonAttendShapes {
		scores := fmt.Sprintf("scoreKeys_%d", s.rows)
		define(scores, func() { neonScoreKeys(a, s.rows) })
		sums := fmt.Sprintf("sumValues_%d", s.rows)
		define(sums, func() { neonSumValues(a, s.rows, 4) })
		wide := sums
		if s.wide > 4 {
			wide = fmt.Sprintf("sumValuesWide_%d", s.rows)
			define(wide, func() { neonSumValues(a, s.rows, s.wide) })
		}
		table = append(table, scores, wide, sums)
	}
	a.table("attends", table)
	a.fn("runAttend", "(kernel int, args *attendArgs)", 16)
	a.jump("attends")
	return a.String()
}

// neonScoreKeys writes the products of some queries with panels of keys, which
// follow each other without gaps along the width: 4 vectors of sums a row.
// R6 and on are the queries, R12 and on where their scores go.
func neonScoreKeys(a *asm, rows int) {
	sum := func(r, v int) int { return 8 + 4*r + v }
	a.pointers(rows, 12, attendDst, attendDstStep)
	a.op("MOVD %d(R0), R1", attendKV)
	a.op("MOVD %d(R0), R4", attendKVStep)
	a.op("MOVD %d(R0), R5", attendN)
	a.label("panel")
	a.pointers(rows, 6, attendX, attendXStep)
	a.op("MOVD R1, R2")
	a.op("MOVD %d(R0), R3", attendWidth)
	for r := range rows {
		for v := range 4 {
			a.v(zero, sum(r, v))
		}
	}
	value := func(e int) {
		for v := 0; v < 4; v += 2 {
			a.op("FMOVQ.P 16(R2), F7")
			a.v(fcvtl, 6, 7)
			a.v(fcvtl2, 7, 7)
			for r := range rows {
				a.v(fmlaE, sum(r, v), 6, r, e)
				a.v(fmlaE, sum(r, v+1), 7, r, e)
			}
		}
	}
	a.op("CMP $4, R3")
	a.op("BLT rest")
	a.label("four")
	for r := range rows {
		a.op("FMOVQ.P 16(R%d), F%d", 6+r, r)
	}
	for e := range 4 {
		value(e)
	}
	a.op("SUB $4, R3")
	a.op("CMP $4, R3")
	a.op("BGE four")
	a.label("rest")
	a.op("CBZ R3, done")
	a.label("one")
	for r := range rows {
		a.op("FMOVS.P 4(R%d), F%d", 6+r, r)
	}
	value(0)
	a.op("SUB $1, R3")
	a.op("CBNZ R3, one")
	a.label("done")
	for r := range rows {
		for v := 0; v < 4; v += 2 {
			a.op("FSTPQ.P (F%d, F%d), 32(R%d)", sum(r, v), sum(r, v+1), 12+r)
		}
	}
	a.op("ADD R4, R1")
	a.op("SUB $1, R5")
	a.op("CBNZ R5, panel")
	a.op("RET")
}

// neonSumValues writes the addition of weighted values to a part of some rows,
// width vectors of it. R6 and on are the weights, R12 and on the rows.
func neonSumValues(a *asm, rows, width int) {
	sum := func(r, v int) int { return 8 + r*width + v }
	a.pointers(rows, 12, attendDst, attendDstStep)
	a.pointers(rows, 6, attendX, attendXStep)
	a.op("MOVD %d(R0), R1", attendKV)
	a.op("MOVD %d(R0), R4", attendKVStep)
	a.op("MOVD %d(R0), R5", attendN)
	for r := range rows {
		for v := 0; v < width; v += 2 {
			a.op("FLDPQ %d(R%d), (F%d, F%d)", 16*v, 12+r, sum(r, v), sum(r, v+1))
		}
	}
	a.label("loop")
	for r := range rows {
		a.op("FMOVS.P 4(R%d), F%d", 6+r, r)
	}
	for v := 0; v < width; v += 2 {
		a.op("FMOVQ %d(R1), F7", 8*v)
		a.v(fcvtl, 6, 7)
		a.v(fcvtl2, 7, 7)
		for r := range rows {
			a.v(fmlaE, sum(r, v), 6, r, 0)
			a.v(fmlaE, sum(r, v+1), 7, r, 0)
		}
	}
	a.op("ADD R4, R1")
	a.op("SUB $1, R5")
	a.op("CBNZ R5, loop")
	for r := range rows {
		for v := 0; v < width; v += 2 {
			a.op("FSTPQ (F%d, F%d), %d(R%d)", sum(r, v), sum(r, v+1), 16*v, 12+r)
		}
	}
	a.op("RET")
}
