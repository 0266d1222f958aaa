package kernel

// whole is the part of n that vectors of the level in use cover; 0 for Plain.
func whole(n int) int {
	switch Current() {
	case AVX512:
		return n &^ 15
	case AVX2, AVXVNNI:
		return n &^ 7
	}
	return 0
}

// padded is room for a tail and what fills it up to a vector.
type padded [16]float32

func dot(a, b []float32) float32 {
	n := whole(len(a))
	if n == 0 {
		return plainDot(a, b)
	}
	var s float32
	if Current() == AVX512 {
		s = dot512(&a[0], &b[0], n)
	} else {
		s = dot2(&a[0], &b[0], n)
	}
	if n < len(a) {
		s += plainDot(a[n:], b[n:])
	}
	return s
}

func axpy(alpha float32, x, y []float32) {
	n := whole(len(x))
	if n > 0 {
		if Current() == AVX512 {
			axpy512(alpha, &x[0], &y[0], n)
		} else {
			axpy2(alpha, &x[0], &y[0], n)
		}
	}
	if n < len(x) {
		plainAxpy(alpha, x[n:], y[n:])
	}
}

func add(dst, a []float32) {
	n := whole(len(a))
	if n > 0 {
		if Current() == AVX512 {
			add512(&dst[0], &a[0], n)
		} else {
			add2(&dst[0], &a[0], n)
		}
	}
	if n < len(a) {
		plainAdd(dst[n:], a[n:])
	}
}

func mul(dst, a, b []float32) {
	n := whole(len(a))
	if n > 0 {
		if Current() == AVX512 {
			mul512(&dst[0], &a[0], &b[0], n)
		} else {
			mul2(&dst[0], &a[0], &b[0], n)
		}
	}
	if n < len(a) {
		plainMul(dst[n:], a[n:], b[n:])
	}
}

func scale(alpha float32, x []float32) {
	n := whole(len(x))
	if n > 0 {
		if Current() == AVX512 {
			scale512(alpha, &x[0], n)
		} else {
			scale2(alpha, &x[0], n)
		}
	}
	if n < len(x) {
		plainScale(alpha, x[n:])
	}
}

func scaleBy(dst, x, w []float32, alpha float32) {
	n := whole(len(x))
	if n > 0 {
		if Current() == AVX512 {
			scaleBy512(&dst[0], &x[0], &w[0], n, alpha)
		} else {
			scaleBy2(&dst[0], &x[0], &w[0], n, alpha)
		}
	}
	if n < len(x) {
		plainScaleBy(dst[n:], x[n:], w[n:], alpha)
	}
}

func toHalf(dst []uint16, src []float32) {
	n := whole(len(src))
	if n > 0 {
		if Current() == AVX512 {
			toHalf512(&dst[0], &src[0], n)
		} else {
			toHalf2(&dst[0], &src[0], n)
		}
	}
	if n < len(src) {
		plainToHalf(dst[n:], src[n:])
	}
}

func fromHalf(dst []float32, src []uint16) {
	n := whole(len(src))
	if n > 0 {
		if Current() == AVX512 {
			fromHalf512(&dst[0], &src[0], n)
		} else {
			fromHalf2(&dst[0], &src[0], n)
		}
	}
	if n < len(src) {
		plainFromHalf(dst[n:], src[n:])
	}
}

func maximum(x []float32) float32 {
	n := whole(len(x))
	m := plainMax(x[n:])
	switch {
	case n == 0:
		return m
	case Current() == AVX512:
		return max(m, max512(&x[0], n))
	default:
		return max(m, max2(&x[0], n))
	}
}

func index(x []float32, v float32) int {
	n := whole(len(x))
	if n > 0 {
		i := 0
		if Current() == AVX512 {
			i = index512(&x[0], n, v)
		} else {
			i = index2(&x[0], n, v)
		}
		if i < n {
			return i
		}
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
		s = expSumWhole(dst, src, n, bias)
	}
	if n < len(src) {
		var t padded
		copy(t[:], src[n:])
		expSumWhole(t[:], t[:], len(t), bias)
		for i := range src[n:] {
			dst[n+i] = t[i]
			s += t[i]
		}
	}
	return s
}

func expSumWhole(dst, src []float32, n int, bias float32) float32 {
	if Current() == AVX512 {
		return expSum512(&dst[0], &src[0], n, bias)
	}
	return expSum2(&dst[0], &src[0], n, bias)
}

func sumExp(x []float32, bias float32) float32 {
	if Current() == Plain {
		return plainSumExp(x, bias)
	}
	n := whole(len(x))
	var s float32
	switch {
	case n == 0:
	case Current() == AVX512:
		s = sumExp512(&x[0], n, bias)
	default:
		s = sumExp2(&x[0], n, bias)
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
		siluMulWhole(dst, gate, up, n)
	}
	if n < len(gate) {
		var g, u padded
		copy(g[:], gate[n:])
		copy(u[:], up[n:])
		siluMulWhole(g[:], g[:], u[:], len(g))
		copy(dst[n:], g[:len(gate)-n])
	}
}

func siluMulWhole(dst, gate, up []float32, n int) {
	if Current() == AVX512 {
		siluMul512(&dst[0], &gate[0], &up[0], n)
	} else {
		siluMul2(&dst[0], &gate[0], &up[0], n)
	}
}

func ropeHalves(x, cos, sin []float32) {
	h := len(cos)
	n := whole(h)
	switch {
	case n == 0:
	case Current() == AVX512:
		ropeHalves512(&x[0], &x[h], &cos[0], &sin[0], n)
	default:
		ropeHalves2(&x[0], &x[h], &cos[0], &sin[0], n)
	}
	plainRopeHalves(x, cos, sin, n)
}

func ropePairs(x, cos, sin []float32) {
	n := whole(2 * len(cos))
	switch {
	case n == 0:
	case Current() == AVX512:
		ropePairs512(&x[0], &cos[0], &sin[0], n)
	default:
		ropePairs2(&x[0], &cos[0], &sin[0], n)
	}
	plainRopePairs(x[n:], cos[n/2:], sin[n/2:])
}

// The assembly; n is a positive multiple of the lanes, d too, strides are in
// bytes.

//go:noescape
func dot512(a, b *float32, n int) float32

//go:noescape
func axpy512(alpha float32, x, y *float32, n int)

//go:noescape
func add512(dst, a *float32, n int)

//go:noescape
func mul512(dst, a, b *float32, n int)

//go:noescape
func scale512(alpha float32, x *float32, n int)

//go:noescape
func scaleBy512(dst, x, w *float32, n int, alpha float32)

//go:noescape
func max512(x *float32, n int) float32

//go:noescape
func index512(x *float32, n int, value float32) int

//go:noescape
func expSum512(dst, src *float32, n int, bias float32) float32

//go:noescape
func sumExp512(src *float32, n int, bias float32) float32

//go:noescape
func siluMul512(dst, gate, up *float32, n int)

//go:noescape
func ropeHalves512(x, y, cos, sin *float32, n int)

//go:noescape
func ropePairs512(x, cos, sin *float32, n int)

//go:noescape
func toHalf512(dst *uint16, src *float32, n int)

//go:noescape
func fromHalf512(dst *float32, src *uint16, n int)

//go:noescape
func dot2(a, b *float32, n int) float32

//go:noescape
func axpy2(alpha float32, x, y *float32, n int)

//go:noescape
func add2(dst, a *float32, n int)

//go:noescape
func mul2(dst, a, b *float32, n int)

//go:noescape
func scale2(alpha float32, x *float32, n int)

//go:noescape
func scaleBy2(dst, x, w *float32, n int, alpha float32)

//go:noescape
func max2(x *float32, n int) float32

//go:noescape
func index2(x *float32, n int, value float32) int

//go:noescape
func expSum2(dst, src *float32, n int, bias float32) float32

//go:noescape
func sumExp2(src *float32, n int, bias float32) float32

//go:noescape
func siluMul2(dst, gate, up *float32, n int)

//go:noescape
func ropeHalves2(x, y, cos, sin *float32, n int)

//go:noescape
func ropePairs2(x, cos, sin *float32, n int)

//go:noescape
func toHalf2(dst *uint16, src *float32, n int)

//go:noescape
func fromHalf2(dst *float32, src *uint16, n int)
