package kernel

// peakFMA runs n rounds of fused multiply-adds and returns the operations of
// one round.
func peakFMA(n int) float64 {
	if Current() == Plain {
		return 0
	}
	if n > 0 {
		peakFMANEON(n)
	}
	return 24 * 4 * 2
}

// peakDot is peakFMA for products of bytes.
func peakDot(n int) float64 {
	switch Current() {
	case NEONDot:
		if n > 0 {
			peakDotNEONDot(n)
		}
		return 24 * 16 * 2
	case NEON:
		if n > 0 {
			peakDotNEON(n)
		}
		return 24 * 8 * 2
	}
	return 0
}

// readAll reads p, whose length is a multiple of 512.
func readAll(p []byte) {
	if len(p) > 0 && Current() != Plain {
		readAllNEON(&p[0], len(p))
	}
}

func peakFMANEON(n int)
func peakDotNEON(n int)
func peakDotNEONDot(n int)

//go:noescape
func readAllNEON(p *byte, n int)
