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
func ropeHalves(x, cos, sin []float32)                { plainRopeHalves(x, cos, sin) }
func ropePairs(x, cos, sin []float32)                 { plainRopePairs(x, cos, sin) }
