package signal

import "math"

var meanLogProb = Signal{Name: "mean_logprob", Kind: Confidence,
	About: "mean log-probability of the drafted tokens",
	of: func(s *seen) float64 {
		logs := make([]float64, len(s.Draft))
		for i, p := range s.Draft {
			logs[i] = math.Log(max(p, leastProb))
		}
		return mean(logs)
	}}

// leastProb keeps logarithms finite.
const leastProb = 1e-9
