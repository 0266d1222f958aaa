package signal

import (
	"math"
	"slices"
)

// scopeOwn is scope on the user's own scale: what is far for one user's narrow
// task is near for another's broad one.
var scopeOwn = Signal{Name: "scope_own", Kind: Scope, Early: true,
	About: "share of your examples that are farther from the others than the query",
	of: func(s *seen) float64 {
		if len(s.Own) == 0 || math.IsNaN(s.talk) {
			return math.NaN()
		}
		at, _ := slices.BinarySearch(s.Own, s.talk)
		return float64(at) / float64(len(s.Own))
	}}
