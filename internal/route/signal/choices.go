package signal

var choices = Signal{Name: "choices", Kind: Query,
	About: "logarithm of how many answers there are to choose from",
	of:    func(s *seen) float64 { return logCount(len(s.Choices)) }}
