//go:build !amd64 && !arm64

package kernel

func dot(a, b []float32) float32                      { return plainDot(a, b) }
func axpy(alpha float32, x, y []float32)              { plainAxpy(alpha, x, y) }
func add(dst, a []float32)                            { plainAdd(dst, a) }
func mul(dst, a, b []float32)                         { plainMul(dst, a, b) }
func scale(alpha float32, x []float32)                { plainScale(alpha, x) }
func maximum(x []float32) float32                     { return plainMax(x) }
func index(x []float32, v float32) int                { return plainIndex(x, v) }
func expSum(dst, src []float32, bias float32) float32 { return plainExp(dst, src, bias) }
func sumExp(x []float32, bias float32) float32        { return plainSumExp(x, bias) }
func scaleBy(dst, x, w []float32, alpha float32)      { plainScaleBy(dst, x, w, alpha) }
func siluMul(dst, gate, up []float32)                 { plainSiLUMul(dst, gate, up) }
func ropeHalves(x, cos, sin []float32)                { plainRopeHalves(x, cos, sin, 0) }
func ropePairs(x, cos, sin []float32)                 { plainRopePairs(x, cos, sin) }
func quantiseRow(q []int8, meta, x []float32)         { plainQuantise(q, meta, x) }
func tile(w *Matrix, panel, panels int, a *Acts, row, rows int, c []float32, stride int, sum bool) {
	plainTile(w, panel, panels, a, row, rows, c, stride, sum)
}

func detect() []Level { return []Level{Plain} }

func blockedGemm(t *Team, transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) bool {
	return false
}

// There are no peak loops in Go: see Measure.

func peakFMA(int) float64 { return 0 }

func peakDot(int) float64 { return 0 }

func readAll([]byte) {}

func toHalf(dst []uint16, src []float32) { plainToHalf(dst, src) }

func fromHalf(dst []float32, src []uint16) { plainFromHalf(dst, src) }
