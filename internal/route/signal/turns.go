package signal

import "math"

var turns = Signal{Name: "turns", Kind: History, Early: true,
	About: "logarithm of 1 and the messages before it",
	of:    func(s *seen) float64 { return math.Log1p(float64(max(0, s.Turns))) }}
