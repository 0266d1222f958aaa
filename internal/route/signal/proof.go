package signal

import "math"

// proof is the same for all queries of a user: it tells users apart, whose tasks
// differ more than their queries do.
var proof = Signal{Name: "proof", Kind: Confidence, Early: true,
	About: "log-odds of being right on your own examples, each left out",
	of: func(s *seen) float64 {
		if s.ProofRows <= 0 {
			return math.NaN()
		}
		wrong := float64(s.ProofRows) - s.ProofRight
		return math.Log((s.ProofRight + 1) / (wrong + 1))
	}}
