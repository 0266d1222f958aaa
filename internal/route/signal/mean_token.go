package signal

import "math"

var meanToken = Signal{Name: "mean_token", Kind: Confidence,
	About: "mean probability of the drafted tokens",
	of:    func(s *seen) float64 { return mean(s.Draft) }}

// mean of no numbers is NaN.
func mean(xs []float64) float64 {
	var sum float64
	for _, x := range xs {
		sum += x
	}
	if len(xs) == 0 {
		return math.NaN()
	}
	return sum / float64(len(xs))
}
