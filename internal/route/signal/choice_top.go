package signal

import "math"

var choiceTop = Signal{Name: "choice_top", Kind: Confidence,
	About: "log-odds of the likeliest choice",
	of: func(s *seen) float64 {
		if s.best < 0 {
			return math.NaN()
		}
		p := max(leastProb, min(1-leastProb, s.probs[s.best]))
		return math.Log(p / (1 - p))
	}}
