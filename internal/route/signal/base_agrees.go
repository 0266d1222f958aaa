package signal

import (
	"math"
	"slices"
)

var baseAgrees = Signal{Name: "base_agrees", Kind: Confidence,
	About: "probability the bare model gives the chosen answer",
	of: func(s *seen) float64 {
		if s.best < 0 || !slices.Contains(s.others, Base) {
			return math.NaN()
		}
		return softmax(s.Others[Base])[s.best]
	}}
