package signal

import "math"

var contextTokens = Signal{Name: "context", Kind: Query, Early: true,
	About: "logarithm of 1 and the tokens of the text it is about",
	of:    func(s *seen) float64 { return math.Log1p(float64(max(0, s.ContextTokens))) }}
