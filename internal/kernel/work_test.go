package kernel

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWorkIsCounted(t *testing.T) {
	const rows, cols = 40, 64 // 40: the last panel is filled up, which is no product
	w := PackF32(nil, rows, cols, make([]float32, rows*cols))
	for _, n := range []int{0, 1, 7, 2*shareRows + 1} {
		var a Acts
		a.Set(nil, make([]float32, n*cols), n, cols)
		dst := make([]float32, n*rows)
		before := Done()
		MatMul(nil, &a, Job{W: w, Dst: dst, Stride: rows}, Job{W: w, Dst: make([]float32, n*rows), Stride: rows})
		after := Done()
		require.EqualValues(t, 2*n*rows*cols, after.Products-before.Products)
		require.EqualValues(t, 2*w.Bytes()*((n+shareRows-1)/shareRows), after.Bytes-before.Bytes)
	}
}
