package signal

var choiceEntropy = Signal{Name: "choice_entropy", Kind: Confidence,
	About: "entropy over the choices, 0 to 1",
	of:    func(s *seen) float64 { return entropy(s.probs) }}
