package kernel

// whole is the part of n that vectors of the level in use cover; 0 for Plain.
func whole(n int) int {
	if Current() == Plain {
		return 0
	}
	return n &^ 3
}

// padded is room for a tail and what fills it up to a vector.
type padded [4]float32

func dot(a, b []float32) float32 {
	n := whole(len(a))
	if n == 0 {
		return plainDot(a, b)
	}
	s := dotNEON(&a[0], &b[0], n)
	if n < len(a) {
		s += plainDot(a[n:], b[n:])
	}
	return s
}

func axpy(alpha float32, x, y []float32) {
	n := whole(len(x))
	if n > 0 {
		axpyNEON(alpha, &x[0], &y[0], n)
	}
	plainAxpy(alpha, x[n:], y[n:])
}

func add(dst, a []float32) {
	n := whole(len(a))
	if n > 0 {
		addNEON(&dst[0], &a[0], n)
	}
	plainAdd(dst[n:], a[n:])
}

func mul(dst, a, b []float32) {
	n := whole(len(a))
	if n > 0 {
		mulNEON(&dst[0], &a[0], &b[0], n)
	}
	plainMul(dst[n:], a[n:], b[n:])
}

func scale(alpha float32, x []float32) {
	n := whole(len(x))
	if n > 0 {
		scaleNEON(alpha, &x[0], n)
	}
	plainScale(alpha, x[n:])
}

func scaleBy(dst, x, w []float32, alpha float32) {
	n := whole(len(x))
	if n > 0 {
		scaleByNEON(&dst[0], &x[0], &w[0], n, alpha)
	}
	plainScaleBy(dst[n:], x[n:], w[n:], alpha)
}

func toHalf(dst []uint16, src []float32) {
	n := whole(len(src))
	if n > 0 {
		toHalfNEON(&dst[0], &src[0], n)
	}
	plainToHalf(dst[n:], src[n:])
}

func fromHalf(dst []float32, src []uint16) {
	n := whole(len(src))
	if n > 0 {
		fromHalfNEON(&dst[0], &src[0], n)
	}
	plainFromHalf(dst[n:], src[n:])
}

func maximum(x []float32) float32 {
	n := whole(len(x))
	m := plainMax(x[n:])
	if n > 0 {
		m = max(m, maxNEON(&x[0], n))
	}
	return m
}

// index has the assembly find the 16 values that v is among.
func index(x []float32, v float32) int {
	n := whole(len(x)) &^ 15
	if n > 0 {
		n = indexNEON(&x[0], n, v)
	}
	for i := n; i < len(x); i++ {
		if x[i] == v {
			return i
		}
	}
	return 0
}

// expSum runs the tail through a padded vector, so that an element's bits do
// not depend on its place.
func expSum(dst, src []float32, bias float32) float32 {
	if Current() == Plain {
		return plainExp(dst, src, bias)
	}
	n := whole(len(src))
	var s float32
	if n > 0 {
		s = expSumNEON(&dst[0], &src[0], n, bias)
	}
	if n < len(src) {
		var t padded
		copy(t[:], src[n:])
		expSumNEON(&t[0], &t[0], len(t), bias)
		for i := range src[n:] {
			dst[n+i] = t[i]
			s += t[i]
		}
	}
	return s
}

func sumExp(x []float32, bias float32) float32 {
	if Current() == Plain {
		return plainSumExp(x, bias)
	}
	n := whole(len(x))
	var s float32
	if n > 0 {
		s = sumExpNEON(&x[0], n, bias)
	}
	if n < len(x) {
		var t padded
		s += expSum(t[:len(x)-n], x[n:], bias)
	}
	return s
}

func siluMul(dst, gate, up []float32) {
	if Current() == Plain {
		plainSiLUMul(dst, gate, up)
		return
	}
	n := whole(len(gate))
	if n > 0 {
		siluMulNEON(&dst[0], &gate[0], &up[0], n)
	}
	if n < len(gate) {
		var g, u padded
		copy(g[:], gate[n:])
		copy(u[:], up[n:])
		siluMulNEON(&g[0], &g[0], &u[0], len(g))
		copy(dst[n:], g[:len(gate)-n])
	}
}

func ropeHalves(x, cos, sin []float32) {
	h := len(cos)
	n := whole(h)
	if n > 0 {
		ropeHalvesNEON(&x[0], &x[h], &cos[0], &sin[0], n)
	}
	plainRopeHalves(x, cos, sin, n)
}

func ropePairs(x, cos, sin []float32) {
	n := whole(len(cos))
	if n > 0 {
		ropePairsNEON(&x[0], &cos[0], &sin[0], n)
	}
	plainRopePairs(x[2*n:], cos[n:], sin[n:])
}

// The assembly; n is a positive multiple of 4 (indexNEON: 16), d of 4 (in half
// precision 8), strides are in bytes.

//go:noescape
func dotNEON(a, b *float32, n int) float32

//go:noescape
func axpyNEON(alpha float32, x, y *float32, n int)

//go:noescape
func addNEON(dst, a *float32, n int)

//go:noescape
func mulNEON(dst, a, b *float32, n int)

//go:noescape
func scaleNEON(alpha float32, x *float32, n int)

//go:noescape
func scaleByNEON(dst, x, w *float32, n int, alpha float32)

//go:noescape
func maxNEON(x *float32, n int) float32

//go:noescape
func indexNEON(x *float32, n int, value float32) int

//go:noescape
func expSumNEON(dst, src *float32, n int, bias float32) float32

//go:noescape
func sumExpNEON(src *float32, n int, bias float32) float32

//go:noescape
func siluMulNEON(dst, gate, up *float32, n int)

//go:noescape
func ropeHalvesNEON(x, y, cos, sin *float32, n int)

//go:noescape
func ropePairsNEON(x, cos, sin *float32, n int)

//go:noescape
func toHalfNEON(dst *uint16, src *float32, n int)

//go:noescape
func fromHalfNEON(dst *float32, src *uint16, n int)
