package signal

import (
	"math"
	"slices"
)

// margin is how far the chosen answer is before the next best by one feature of
// the stack: an answer that is first by each feature is right more often than one
// that is first by their sum alone.
func margin(feature string) Signal {
	return Signal{Name: "by_" + feature, Kind: Confidence,
		About: "the stack's feature " + feature + " of the chosen answer, less the best other's",
		of: func(s *seen) float64 {
			at := slices.Index(s.Features, feature)
			if s.best < 0 || at < 0 || len(s.Table) != len(s.probs) {
				return math.NaN()
			}
			next := math.Inf(-1)
			for j, x := range s.Table {
				if len(x) <= at {
					return math.NaN()
				}
				if j != s.best {
					next = max(next, x[at])
				}
			}
			return s.Table[s.best][at] - next
		}}
}
