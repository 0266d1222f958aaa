package kernel

var (
	tiles2   = &tiles{heights: [3]int{6, 4, 2}, width: 16, run: runTile2}
	tiles512 = &tiles{heights: [3]int{12, 8, 4}, width: 32, run: runTile512}
)

// gemmTiles returns the tiles of the level in use, nil for Plain.
func gemmTiles() *tiles {
	switch Current() {
	case AVX512:
		return tiles512
	case AVX2, AVXVNNI:
		return tiles2
	}
	return nil
}

func runTile2(height int, wide bool, k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32) {
	switch {
	case height == 6 && wide:
		gemm2_6x16(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 6:
		gemm2_6x8(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 4 && wide:
		gemm2_4x16(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 4:
		gemm2_4x8(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 2 && wide:
		gemm2_2x16(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 2:
		gemm2_2x8(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	}
}

func runTile512(height int, wide bool, k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32) {
	switch {
	case height == 12 && wide:
		gemm512_12x32(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 12:
		gemm512_12x16(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 8 && wide:
		gemm512_8x32(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 8:
		gemm512_8x16(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 4 && wide:
		gemm512_4x32(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 4:
		gemm512_4x16(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	}
}

// The tiles: c = alpha*a*b + beta*c over k > 0 steps, each of height values of a
// and width values of b; the Steps are in bytes. With beta 0, c is not read.

//go:noescape
func gemm2_6x16(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemm2_6x8(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemm2_4x16(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemm2_4x8(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemm2_2x16(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemm2_2x8(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemm512_12x32(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemm512_12x16(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemm512_8x32(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemm512_8x16(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemm512_4x32(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemm512_4x16(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

// pack4T turns 4 rows of k values, k > 0 a multiple of 4, into k groups of 4.
//
//go:noescape
func pack4T(dst *float32, dstStep int, src *float32, srcStep int, k int)

// pack4 copies k > 0 groups of 4 values; the Steps are in bytes.
//
//go:noescape
func pack4(dst *float32, dstStep int, src *float32, srcStep int, k int)

// pack16 copies k > 0 groups of 16 values; the Steps are in bytes.
//
//go:noescape
func pack16(dst *float32, dstStep int, src *float32, srcStep int, k int)
