package signal

import (
	"math"
	"slices"
)

var leastToken = Signal{Name: "least_token", Kind: Confidence,
	About: "least probability of a drafted token",
	of: func(s *seen) float64 {
		if len(s.Draft) == 0 {
			return math.NaN()
		}
		return slices.Min(s.Draft)
	}}
