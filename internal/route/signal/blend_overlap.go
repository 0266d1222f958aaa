package signal

import "math"

var blendOverlap = Signal{Name: "blend_overlap", Kind: Scope, Early: true,
	About: "what the query's own weights share with the customisation's, 0 to 1",
	of: func(s *seen) float64 {
		if len(s.weights) == 0 || len(s.Blend) != len(s.weights) {
			return math.NaN()
		}
		var whole, shared float64
		for _, w := range s.Blend {
			whole += max(0, float64(w))
		}
		if whole == 0 {
			return math.NaN()
		}
		for i, w := range s.weights {
			shared += min(w, max(0, float64(s.Blend[i]))/whole)
		}
		return shared
	}}
