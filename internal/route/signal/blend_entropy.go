package signal

var blendEntropy = Signal{Name: "blend_entropy", Kind: Scope, Early: true,
	About: "entropy of the query's own weights over the adapters, 0 to 1",
	of:    func(s *seen) float64 { return entropy(s.weights) }}
