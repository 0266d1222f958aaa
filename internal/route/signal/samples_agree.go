package signal

var samplesAgree = Signal{Name: "samples_agree", Kind: Confidence, Drafts: 1,
	About: "how far further drafts, drawn at random, agree with the first, 0 to 1",
	of:    func(s *seen) float64 { return mean(s.Samples) }}
