package kernel

import "math"

// The plain twins of the vector functions. They sum in float64 where the
// assembly sums in several float32 lanes, so the two agree to rounding.

func plainDot(a, b []float32) float32 {
	var s float64
	for i, v := range a {
		s += float64(v) * float64(b[i])
	}
	return float32(s)
}

func plainAxpy(alpha float32, x, y []float32) {
	for i, v := range x {
		y[i] += alpha * v
	}
}

func plainAdd(dst, a []float32) {
	for i, v := range a {
		dst[i] += v
	}
}

func plainMul(dst, a, b []float32) {
	for i, v := range a {
		dst[i] = v * b[i]
	}
}

func plainScale(alpha float32, x []float32) {
	for i := range x {
		x[i] *= alpha
	}
}

func plainMax(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

// plainIndex returns the first place of v in x, or 0.
func plainIndex(x []float32, v float32) int {
	for i, e := range x {
		if e == v {
			return i
		}
	}
	return 0
}

func exp32(x float32) float32 { return float32(math.Exp(float64(x))) }

// plainExp stores exp(src-bias) and returns the sum.
func plainExp(dst, src []float32, bias float32) float32 {
	var s float64
	for i, v := range src {
		e := exp32(v - bias)
		dst[i] = e
		s += float64(e)
	}
	return float32(s)
}

func plainSumExp(x []float32, bias float32) float32 {
	var s float64
	for _, v := range x {
		s += float64(exp32(v - bias))
	}
	return float32(s)
}

// plainScaleBy stores alpha*x*w.
func plainScaleBy(dst, x, w []float32, alpha float32) {
	for i, v := range x {
		dst[i] = v * alpha * w[i]
	}
}

func plainSiLUMul(dst, gate, up []float32) {
	for i, g := range gate {
		dst[i] = g / (1 + exp32(-g)) * up[i]
	}
}

// plainRopeHalves leaves out the first from angles.
func plainRopeHalves(x, cos, sin []float32, from int) {
	h := len(cos)
	for i := from; i < h; i++ {
		a, b, c, s := x[i], x[i+h], cos[i], sin[i]
		x[i] = a*c - b*s
		x[i+h] = b*c + a*s
	}
}

func plainRopePairs(x, cos, sin []float32) {
	for i, c := range cos {
		a, b, s := x[2*i], x[2*i+1], sin[i]
		x[2*i] = a*c - b*s
		x[2*i+1] = b*c + a*s
	}
}
