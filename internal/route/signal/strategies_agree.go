package signal

import "math"

var strategiesAgree = Signal{Name: "strategies_agree", Kind: Confidence,
	About: "share of the other strategies that choose the same",
	of: func(s *seen) float64 {
		if len(s.others) == 0 {
			return math.NaN()
		}
		same := 0
		for _, name := range s.others {
			if argmax(s.Others[name]) == s.best {
				same++
			}
		}
		return float64(same) / float64(len(s.others))
	}}
