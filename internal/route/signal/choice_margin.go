package signal

import "math"

var choiceMargin = Signal{Name: "choice_margin", Kind: Confidence,
	About: "probability of the likeliest choice less the next one's",
	of: func(s *seen) float64 {
		if s.best < 0 {
			return math.NaN()
		}
		next := 0.0
		for i, p := range s.probs {
			if i != s.best {
				next = max(next, p)
			}
		}
		return s.probs[s.best] - next
	}}
