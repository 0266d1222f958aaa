package signal

var english = Signal{Name: "english", Kind: Query, Early: true,
	About: "share of its words that are among the commonest of English",
	of:    func(s *seen) float64 { return share(s.text.common, s.text.words) }}
