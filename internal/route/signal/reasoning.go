package signal

var reasoning = Signal{Name: "reasoning", Kind: Query, Early: true,
	About: "1 where it asks why, how, or for an explanation, else 0",
	of:    func(s *seen) float64 { return flag(s.text.why) }}
