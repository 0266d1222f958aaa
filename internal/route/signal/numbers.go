package signal

import "math"

var numbers = Signal{Name: "numbers", Kind: Query, Early: true,
	About: "share of its words that hold digits",
	of:    func(s *seen) float64 { return share(s.text.numbers, s.text.words) }}

// share of nothing is NaN.
func share(part, whole int) float64 {
	if whole == 0 {
		return math.NaN()
	}
	return float64(part) / float64(whole)
}
