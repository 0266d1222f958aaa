package signal

var nearest = Signal{Name: "nearest", Kind: Scope, Early: true,
	About: "cosine to the nearest example",
	of:    func(s *seen) float64 { return meanOfBest(s.cosines, 1) }}
