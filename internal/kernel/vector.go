package kernel

import "math"

// Dot returns the sum of a[i]*b[i]; b has at least the length of a.
func Dot(a, b []float32) float32 { return dot(a, b[:len(a)]) }

// Axpy adds alpha*x to y; y has at least the length of x.
func Axpy(alpha float32, x, y []float32) { axpy(alpha, x, y[:len(x)]) }

// Add adds a to dst; dst has at least the length of a.
func Add(dst, a []float32) { add(dst[:len(a)], a) }

// Mul stores a[i]*b[i] in dst; b and dst have at least the length of a, and
// dst may be a or b.
func Mul(dst, a, b []float32) { mul(dst[:len(a)], a, b[:len(a)]) }

// Scale multiplies x by alpha.
func Scale(alpha float32, x []float32) { scale(alpha, x) }

// Max returns the largest value of x that is not NaN; -Inf when there is none.
func Max(x []float32) float32 { return maximum(x) }

// MaxIndex returns the first place of the largest value of x that is not NaN:
// 0 when there is none, -1 when x is empty.
func MaxIndex(x []float32) int {
	if len(x) == 0 {
		return -1
	}
	return index(x, maximum(x))
}

// Exp stores e to the src[i] in dst; dst has at least the length of src and
// may be src. Relative error at most 2e-7 for results that are normal numbers.
func Exp(dst, src []float32) { expSum(dst[:len(src)], src, 0) }

// LogSumExp returns ln(sum e^x[i]), without overflow; -Inf when x is empty.
func LogSumExp(x []float32) float32 {
	m := maximum(x)
	if math.IsInf(float64(m), 0) {
		return m
	}
	return m + float32(math.Log(float64(sumExp(x, m))))
}

// Softmax turns x into probabilities in place. A value of -Inf becomes 0; when
// all are -Inf the result is NaN.
func Softmax(x []float32) {
	if len(x) == 0 {
		return
	}
	scale(1/expSum(x, x, maximum(x)), x)
}

// RMSNorm stores x[i] * w[i] / sqrt(mean(x^2) + eps) in dst; x, w and dst have
// one length and dst may be x (Zhang and Sennrich 2019, "Root Mean Square
// Layer Normalization").
func RMSNorm(dst, x, w []float32, eps float32) {
	if len(x) == 0 {
		return
	}
	mean := float64(dot(x, x)) / float64(len(x))
	scaleBy(dst[:len(x)], x, w[:len(x)], float32(1/math.Sqrt(mean+float64(eps))))
}

// SiLUMul stores gate[i]*sigmoid(gate[i])*up[i] in dst; all have the length of
// gate at least, and dst may be gate or up.
func SiLUMul(dst, gate, up []float32) {
	siluMul(dst[:len(gate)], gate, up[:len(gate)])
}

// Rope rotates one head in place by the angles whose cosines and sines are
// given; x has twice the length of cos. With halves, value i is paired with
// value i+len/2 (qwen2), else the values 2i and 2i+1 are (llama in GGUF order).
func Rope(x []float32, cos, sin []float32, halves bool) {
	x, sin = x[:2*len(cos)], sin[:len(cos)]
	if halves {
		ropeHalves(x, cos, sin)
	} else {
		ropePairs(x, cos, sin)
	}
}
