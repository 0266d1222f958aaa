package signal

import "math"

var poolMargin = Signal{Name: "pool_margin", Kind: Scope, Early: true,
	About: "the same, less that to the next nearest",
	of: func(s *seen) float64 {
		first, second := math.Inf(-1), math.Inf(-1)
		for _, x := range s.Similarity {
			switch x := float64(x); {
			case x > first:
				first, second = x, first
			case x > second:
				second = x
			}
		}
		return first - second // one indicator: infinite, so not measured
	}}
