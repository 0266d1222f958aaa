package kernel

// Gemm computes c = alpha * op(a) * op(b) + beta * c, all row-major, with op
// the transpose where asked: op(a) is m x k, op(b) is k x n, c is m x n. lda,
// ldb and ldc are the distances between rows as stored. With beta 0 what was
// in c does not matter, NaN included. c must not overlap a or b.
//
// A nil team runs on the calling goroutine, and any number of goroutines may
// call at once. An element's bits depend neither on the team nor on the other
// rows and columns.
func Gemm(t *Team, transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	if m <= 0 || n <= 0 {
		return
	}
	checkOperand("a", transA, m, k, a, lda)
	checkOperand("b", transB, k, n, b, ldb)
	checkOperand("c", false, m, n, c, ldc)
	if k <= 0 || !blockedGemm(t, transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) {
		plainGemm(transA, transB, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)
	}
}

// checkOperand panics unless x holds a rows x cols matrix, or its transpose.
func checkOperand(name string, trans bool, rows, cols int, x []float32, ld int) {
	if trans {
		rows, cols = cols, rows
	}
	if rows > 0 && cols > 0 && (ld < cols || len(x) < (rows-1)*ld+cols) {
		panic("kernel: Gemm: " + name + " is too small")
	}
}

// plainGemm is the twin: row by row of c, so that b is read in order.
func plainGemm(transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	for i := range m {
		row := c[i*ldc : i*ldc+n]
		switch beta {
		case 0:
			clear(row)
		case 1:
		default:
			plainScale(beta, row)
		}
		for p := range k {
			v := alpha
			if transA {
				v *= a[p*lda+i]
			} else {
				v *= a[i*lda+p]
			}
			if transB {
				for j := range row {
					row[j] += v * b[j*ldb+p]
				}
			} else {
				plainAxpy(v, b[p*ldb:p*ldb+n], row)
			}
		}
	}
}
