package kernel

import "crayon/internal/half"

// Scores stores the dot product of q and the i-th key in dst[i], for the
// len(dst) keys that begin at keys[i*stride]. A score's bits depend on q and
// its key alone.
func Scores(dst, q, keys []float32, stride int) {
	checkRows("Scores", len(dst), len(q), stride, len(keys))
	if len(dst) > 0 {
		scores(dst, q, keys, stride)
	}
}

// ScoresHalf is Scores with keys in half precision.
func ScoresHalf(dst, q []float32, keys []uint16, stride int) {
	checkRows("ScoresHalf", len(dst), len(q), stride, len(keys))
	if len(dst) > 0 {
		scoresHalf(dst, q, keys, stride)
	}
}

// WeightedSum adds p[i] times the i-th row of values to dst, for all of p; the
// rows have the length of dst and begin at values[i*stride].
func WeightedSum(dst, p, values []float32, stride int) {
	checkRows("WeightedSum", len(p), len(dst), stride, len(values))
	if len(p) > 0 {
		weightedSum(dst, p, values, stride)
	}
}

// WeightedSumHalf is WeightedSum with values in half precision.
func WeightedSumHalf(dst, p []float32, values []uint16, stride int) {
	checkRows("WeightedSumHalf", len(p), len(dst), stride, len(values))
	if len(p) > 0 {
		weightedSumHalf(dst, p, values, stride)
	}
}

func checkRows(name string, n, d, stride, have int) {
	if n > 0 && d > 0 && (stride < 0 || have < d || stride > 0 && (have-d)/stride < n-1) {
		panic("kernel: " + name + ": too few rows")
	}
}

// ToHalf rounds src to half precision, nearest even; dst has at least its
// length.
func ToHalf(dst []uint16, src []float32) { toHalf(dst[:len(src)], src) }

// FromHalf widens src to float32; dst has at least its length.
func FromHalf(dst []float32, src []uint16) { fromHalf(dst[:len(src)], src) }

func plainScores(dst, q, keys []float32, stride int) {
	for i := range dst {
		dst[i] = plainDot(q, keys[i*stride:])
	}
}

func plainScoresHalf(dst, q []float32, keys []uint16, stride int) {
	for i := range dst {
		var s float64
		for k, v := range q {
			s += float64(v) * float64(half.Float32(keys[i*stride+k]))
		}
		dst[i] = float32(s)
	}
}

func plainWeightedSum(dst, p, values []float32, stride int) {
	for i, w := range p {
		for k := range dst {
			dst[k] += w * values[i*stride+k]
		}
	}
}

func plainWeightedSumHalf(dst, p []float32, values []uint16, stride int) {
	for i, w := range p {
		for k := range dst {
			dst[k] += w * half.Float32(values[i*stride+k])
		}
	}
}

func plainToHalf(dst []uint16, src []float32) {
	for i, v := range src {
		dst[i] = half.Bits(v)
	}
}

func plainFromHalf(dst []float32, src []uint16) {
	for i, v := range src {
		dst[i] = half.Float32(v)
	}
}
