package kernel

import "crayon/internal/half"

// KeyLanes is how many positions a panel of keys has: value d of the key of
// position i lies at [i/KeyLanes][d][i%KeyLanes], so that scores of
// neighbouring positions are neighbouring lanes and need no sum across them.
const KeyLanes = 16

// ScoreKeys stores in dst[r*stride+i] the dot product of query r and the key of
// position i, for rows queries of width values that follow each other in q and
// n keys in half precision. Panel p of the keys begins at keys[p*step]; what
// the last one has beyond n must be readable, and dst is written up to the next
// multiple of 16. Each sum goes along the width in order, so a score's bits
// depend on its query and key alone.
func ScoreKeys(dst []float32, stride int, q []float32, rows, width int, keys []uint16, step, n int) {
	if rows < 1 || n < 1 {
		return
	}
	panels := (n + KeyLanes - 1) / KeyLanes
	if width < 1 || step < 0 || stride < 0 || len(q) < rows*width || len(keys) < (panels-1)*step+width*KeyLanes || len(dst) < (rows-1)*stride+panels*KeyLanes {
		panic("kernel: ScoreKeys: too few values")
	}
	scoreKeys(dst, stride, q, rows, width, keys, step, panels)
}

// SumValues adds to row r of dst, width values, the sum of p[r*stride+i] times
// the value of position i: n values in half precision, of which each begins
// step after the one before. Each sum goes along the positions in order, so
// that a sequence may be summed in parts.
func SumValues(dst []float32, rows, width int, p []float32, stride int, values []uint16, step, n int) {
	if rows < 1 || n < 1 {
		return
	}
	if width < 1 || step < 0 || stride < 0 || len(dst) < rows*width || len(p) < (rows-1)*stride+n || len(values) < (n-1)*step+width {
		panic("kernel: SumValues: too few values")
	}
	sumValues(dst, rows, width, p, stride, values, step, n)
}

// PutKey stores one key, position i of its panels, in half precision; tmp has
// room for it.
func PutKey(keys []uint16, step, i int, key []float32, tmp []uint16) {
	ToHalf(tmp, key)
	panel := keys[i/KeyLanes*step+i%KeyLanes:]
	for d := range key {
		panel[d*KeyLanes] = tmp[d]
	}
}

func plainScoreKeys(dst []float32, stride int, q []float32, rows, width int, keys []uint16, step, panels int) {
	for p := range panels {
		for d := range width {
			for l := range KeyLanes {
				k := half.Float32(keys[p*step+d*KeyLanes+l])
				for r := range rows {
					s := &dst[r*stride+p*KeyLanes+l]
					if d == 0 {
						*s = 0
					}
					*s += q[r*width+d] * k
				}
			}
		}
	}
}

// plainSumValues starts at column from.
func plainSumValues(dst []float32, rows, width, from int, p []float32, stride int, values []uint16, step, n int) {
	for i := range n {
		for d := from; d < width; d++ {
			v := half.Float32(values[i*step+d])
			for r := range rows {
				dst[r*width+d] += p[r*stride+i] * v
			}
		}
	}
}
