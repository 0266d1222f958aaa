package signal

var pastScope = Signal{Name: "past_scope", Kind: History, Early: true,
	About: "mean cosine of earlier turns to their 3 nearest examples",
	of:    func(s *seen) float64 { return mean(s.earlier) }}
