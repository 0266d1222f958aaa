package signal

import "math"

// neighbourVote weighs examples by exp(cosine / 0.1), as the stack's feature
// "vote" does.
var neighbourVote = Signal{Name: "neighbour_vote", Kind: Confidence,
	About: "share of the examples, nearer ones counting more, that have the chosen answer",
	of: func(s *seen) float64 {
		if s.best < 0 || len(s.Answers) == 0 || len(s.Answers) != len(s.cosines) {
			return math.NaN()
		}
		var same, all float64
		for i, a := range s.Answers {
			if a < 0 {
				continue
			}
			w := math.Exp(s.cosines[i] / 0.1)
			all += w
			if a == s.best {
				same += w
			}
		}
		return same / all // none has an answer: NaN
	}}
