package kernel

// peakFMA runs n rounds of fused multiply-adds and returns the operations of
// one round.
func peakFMA(n int) float64 {
	switch Current() {
	case AVX512:
		if n > 0 {
			peakFMA512(n)
		}
		return 24 * 16 * 2
	case AVX2, AVXVNNI:
		if n > 0 {
			peakFMA2(n)
		}
		return 12 * 8 * 2
	}
	return 0
}

// peakDot is peakFMA for products of bytes.
func peakDot(n int) float64 {
	switch Current() {
	case AVX512:
		if n > 0 {
			peakDot512(n)
		}
		return 24 * 64 * 2
	case AVXVNNI:
		if n > 0 {
			peakDotVNNI(n)
		}
		return 12 * 32 * 2
	case AVX2:
		if n > 0 {
			peakDot2(n)
		}
		return 12 * 32 * 2
	}
	return 0
}

// readAll reads p, whose length is a multiple of 512.
func readAll(p []byte) {
	switch {
	case len(p) == 0:
	case Current() == AVX512:
		readAll512(&p[0], len(p))
	case Current() == AVX2 || Current() == AVXVNNI:
		readAll2(&p[0], len(p))
	}
}

func peakFMA512(n int)
func peakFMA2(n int)
func peakDot512(n int)
func peakDot2(n int)
func peakDotVNNI(n int)

//go:noescape
func readAll512(p *byte, n int)

//go:noescape
func readAll2(p *byte, n int)
