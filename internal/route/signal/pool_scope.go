package signal

import (
	"math"
	"slices"
)

var poolScope = Signal{Name: "pool_scope", Kind: Scope, Early: true,
	About: "cosine to the nearest of the pool's indicators",
	of: func(s *seen) float64 {
		if len(s.Similarity) == 0 {
			return math.NaN()
		}
		return float64(slices.Max(s.Similarity))
	}}
