package main

// peak writes the loops that measure the machine.
func peak() string {
	a := newFile()
	for _, v := range []vec{zmm, ymm} {
		sums := 12
		if v == zmm {
			sums = 24
		}
		first := 32 - sums
		if v == ymm {
			first = 16 - sums
		}
		begin := func(name string) {
			a.fn(name, "(n int)", 8)
			a.op("MOVQ n+0(FP), CX")
			for i := range first + sums {
				v.zero(a, v.r(i))
			}
			a.label("loop")
		}
		end := func() {
			a.op("DECQ CX")
			a.op("JNZ loop")
			a.ret()
		}
		begin("peakFMA" + v.level)
		for i := range sums {
			a.op("VFMADD231PS %s, %s, %s", v.r(0), v.r(1), v.r(first+i))
		}
		end()
		if v == ymm {
			begin("peakDotVNNI")
			for i := range sums {
				vpdpbusd(a, 0, 1, first+i)
			}
			end()
		}
		begin("peakDot" + v.level)
		for i := range sums {
			if v == zmm {
				a.op("VPDPBUSD Z0, Z1, %s", v.r(first+i))
			} else {
				a.op("VPMADDUBSW Y0, Y1, Y2")
				a.op("VPADDW Y2, %s, %s", v.r(first+i), v.r(first+i))
			}
		}
		end()
		a.fn("readAll"+v.level, "(p *byte, n int)", 16)
		a.op("MOVQ p+0(FP), SI")
		a.op("MOVQ n+8(FP), CX")
		for i := range 4 {
			v.zero(a, v.r(i))
		}
		a.label("loop")
		for i := range 8 {
			op := "VPADDD"
			if i%2 == 1 {
				op = "VPSUBD"
			}
			a.op("%s %d(SI), %s, %s", op, i*v.bytes(), v.r(i%4), v.r(i%4))
		}
		a.op("ADDQ $%d, SI", 8*v.bytes())
		a.op("SUBQ $%d, CX", 8*v.bytes())
		a.op("JG loop")
		a.ret()
	}
	return a.String()
}
