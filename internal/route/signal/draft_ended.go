package signal

import "math"

var draftEnded = Signal{Name: "draft_ended", Kind: Confidence,
	About: "1 where the draft is the whole answer, else 0",
	of: func(s *seen) float64 {
		switch {
		case len(s.Draft) == 0:
			return math.NaN()
		case s.Ended:
			return 1
		}
		return 0
	}}
