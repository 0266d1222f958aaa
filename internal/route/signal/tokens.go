package signal

import "math"

var tokens = Signal{Name: "tokens", Kind: Query, Early: true,
	About: "logarithm of the query's tokens",
	of:    func(s *seen) float64 { return logCount(s.QueryTokens) }}

// logCount is NaN for what was not counted.
func logCount(n int) float64 {
	if n <= 0 {
		return math.NaN()
	}
	return math.Log(float64(n))
}
