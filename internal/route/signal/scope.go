package signal

var scope = Signal{Name: "scope", Kind: Scope, Early: true,
	About: "mean cosine to the 3 nearest examples, earlier turns counted",
	of:    func(s *seen) float64 { return s.talk }}
