package signal

import "math"

// strategiesSpread is the generalised Jensen-Shannon divergence of the
// strategies' distributions over its largest value.
var strategiesSpread = Signal{Name: "strategies_spread", Kind: Confidence,
	About: "how far the strategies' probabilities are apart, 0 to 1",
	of: func(s *seen) float64 {
		if len(s.others) == 0 {
			return math.NaN()
		}
		mix := make([]float64, len(s.probs))
		var each float64
		n := float64(len(s.others) + 1)
		add := func(p []float64) {
			each += entropy(p) / n
			for i, x := range p {
				mix[i] += x / n
			}
		}
		add(s.probs)
		for _, name := range s.others {
			add(softmax(s.Others[name]))
		}
		return max(0, entropy(mix)-each)
	}}
