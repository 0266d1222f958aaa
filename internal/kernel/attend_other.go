//go:build !amd64 && !arm64

package kernel

func scoreKeys(dst []float32, stride int, q []float32, rows, width int, keys []uint16, step, panels int) {
	plainScoreKeys(dst, stride, q, rows, width, keys, step, panels)
}

func sumValues(dst []float32, rows, width int, p []float32, stride int, values []uint16, step, n int) {
	plainSumValues(dst, rows, width, 0, p, stride, values, step, n)
}
