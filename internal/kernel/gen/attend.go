package main

import "fmt"

// Offsets in attendArgs (attend_asm.go).
const (
	attendDst = 8 * iota
	attendDstStep
	attendX
	attendXStep
	attendKV
	attendKVStep
	attendN
	attendWidth
)

// attendRows are the numbers of rows a function takes at a time, by level; the
// order is that of the table in runAttend, which attend_amd64.go knows.
func attendRows(v vec) []int {
	if v == zmm {
		return []int{1, 2, 3, 4, 6}
	}
	return []int{1, 2, 4}
}

// attendSpans are the widths of a part of a row of values, in registers, by
// level and rows: the wide one, and that of 16 values.
func attendSpans(v vec, rows int) (wide, narrow int) {
	switch {
	case v == zmm:
		return 4, 1
	case rows == 1:
		return 8, 2
	case rows == 2:
		return 4, 2
	}
	return 2, 2
}

// attend writes the products of attention with keys and values in half precision.
func attend() string {
	a := newFile()
	var table []string
	define := func(name string, body func()) {
		fmt.Fprintf(a, "\n// %s: AX is the attendArgs.\nTEXT %s<>(SB), NOSPLIT, $0-0\n", name, name)
		body()
		table = append(table, name)
	}
	for _, v := range []vec{zmm, ymm} {
		for _, rows := range attendRows(v) {
			define(fmt.Sprintf("scoreKeys_%s_%d", v.level, rows), func() { scoreKeys(a, v, rows) })
			wide, narrow := attendSpans(v, rows)
			define(fmt.Sprintf("sumValuesWide_%s_%d", v.level, rows), func() { sumValues(a, v, rows, wide) })
			define(fmt.Sprintf("sumValues_%s_%d", v.level, rows), func() { sumValues(a, v, rows, narrow) })
		}
	}
	a.table("attends", table)
	a.fn("runAttend", "(kernel int, args *attendArgs)", 16)
	a.jumpAX("attends")
	return a.String()
}

var attendX4 = rowRegs{"R15", "R9", "R10", "R11"}

// scoreKeys multiplies rows of queries with panels of 16 keys: 4, 2 and 1
// panels at a time, so that enough sums are under way at once. Each sum goes
// along the width, one multiplication after the other.
func scoreKeys(a *asm, v vec, rows int) {
	parts := 16 / v.lanes // registers of a panel
	attendX4.load(a, attendX, attendXStep, rows)
	a.op("MOVQ R15, DX")
	a.op("MOVQ %d(AX), DI", attendDst)
	a.op("MOVQ %d(AX), R8", attendDstStep)
	a.op("MOVQ %d(AX), SI", attendKV)
	a.op("MOVQ %d(AX), R12", attendKVStep)
	a.op("LEAQ (R12)(R12*2), R13")
	a.op("MOVQ %d(AX), CX", attendN)
	for _, panels := range []int{4, 2, 1} {
		if registers := rows*panels*parts + rows + 1; registers > v.count() {
			continue
		}
		sum := func(r, p, h int) string { return v.r((r*panels+p)*parts + h) }
		query := func(r int) string { return v.r(rows*panels*parts + r) }
		key := v.r(rows*panels*parts + rows)
		a.label(fmt.Sprintf("panels%d", panels))
		a.op("CMPQ CX, $%d", panels)
		a.op("JLT fewer%d", panels)
		for i := range rows * panels * parts {
			v.zero(a, v.r(i))
		}
		a.op("MOVQ DX, R15")
		a.op("MOVQ SI, R14")
		a.op("MOVQ %d(AX), BX", attendWidth)
		a.label(fmt.Sprintf("along%d", panels))
		for r := range rows {
			a.op("VBROADCASTSS %s, %s", attendX4.at(r, 0), query(r))
		}
		for p := range panels {
			for h := range parts {
				off := h * v.bytes() / 2
				address := []string{"%d(R14)", "%d(R14)(R12*1)", "%d(R14)(R12*2)", "%d(R14)(R13*1)"}[p]
				a.op("VCVTPH2PS "+address+", %s", off, key)
				for r := range rows {
					a.op("VFMADD231PS %s, %s, %s", key, query(r), sum(r, p, h))
				}
			}
		}
		a.op("ADDQ $32, R14")
		a.op("ADDQ $4, R15")
		a.op("DECQ BX")
		a.op("JNZ along%d", panels)
		a.op("MOVQ DI, R14")
		for r := range rows {
			for p := range panels {
				for h := range parts {
					a.op("VMOVUPS %s, %d(R14)", sum(r, p, h), 64*p+h*v.bytes())
				}
			}
			if r < rows-1 {
				a.op("ADDQ R8, R14")
			}
		}
		a.op("ADDQ $%d, DI", 64*panels)
		a.op("LEAQ (SI)(R12*%d), SI", panels)
		a.op("SUBQ $%d, CX", panels)
		a.op("JMP panels%d", panels)
		a.label(fmt.Sprintf("fewer%d", panels))
	}
	a.ret()
}

// sumValues adds weighted rows of values to a part of dst, span registers
// wide, for several rows of weights.
func sumValues(a *asm, v vec, rows, span int) {
	sum := func(r, s int) string { return v.r(r*span + s) }
	weight := func(r int) string { return v.r(rows*span + r) }
	value := v.r(rows*span + rows)
	attendX4.load(a, attendX, attendXStep, rows)
	a.op("MOVQ %d(AX), DI", attendDst)
	a.op("MOVQ %d(AX), R8", attendDstStep)
	a.op("MOVQ %d(AX), SI", attendKV)
	a.op("MOVQ %d(AX), R12", attendKVStep)
	a.op("MOVQ %d(AX), CX", attendN)
	each := func(op func(r, s int)) {
		a.op("MOVQ DI, DX")
		for r := range rows {
			for s := range span {
				op(r, s)
			}
			if r < rows-1 {
				a.op("ADDQ R8, DX")
			}
		}
	}
	each(func(r, s int) { a.op("VMOVUPS %d(DX), %s", s*v.bytes(), sum(r, s)) })
	a.label("loop")
	for r := range rows {
		a.op("VBROADCASTSS %s, %s", attendX4.at(r, 0), weight(r))
	}
	for s := range span {
		a.op("VCVTPH2PS %d(SI), %s", s*v.bytes()/2, value)
		for r := range rows {
			a.op("VFMADD231PS %s, %s, %s", value, weight(r), sum(r, s))
		}
	}
	a.op("ADDQ $4, R15")
	a.op("ADDQ R12, SI")
	a.op("DECQ CX")
	a.op("JNZ loop")
	each(func(r, s int) { a.op("VMOVUPS %s, %d(DX)", sum(r, s), s*v.bytes()) })
	a.ret()
}
