package kernel

var tilesNEON = &tiles{heights: [3]int{6, 4, 2}, width: 16, run: runTileNEON}

// gemmTiles returns the tiles of the level in use, nil for Plain.
func gemmTiles() *tiles {
	if Current() == Plain {
		return nil
	}
	return tilesNEON
}

func runTileNEON(height int, wide bool, k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32) {
	switch {
	case height == 6 && wide:
		gemmNEON_6x16(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 6:
		gemmNEON_6x8(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 4 && wide:
		gemmNEON_4x16(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 4:
		gemmNEON_4x8(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 2 && wide:
		gemmNEON_2x16(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	case height == 2:
		gemmNEON_2x8(k, a, aStep, b, bStep, c, cStep, alpha, beta)
	}
}

// The tiles: c = alpha*a*b + beta*c over k > 0 steps, each of height values of a
// and width values of b; the Steps are in bytes. With beta 0, c is not read.

//go:noescape
func gemmNEON_6x16(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemmNEON_6x8(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemmNEON_4x16(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemmNEON_4x8(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemmNEON_2x16(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

//go:noescape
func gemmNEON_2x8(k int, a *float32, aStep int, b *float32, bStep int, c *float32, cStep int, alpha, beta float32)

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
