package signal

var code = Signal{Name: "code", Kind: Query, Early: true,
	About: "share of its characters that code has and prose has not; 1 with a fence",
	of: func(s *seen) float64 {
		if s.text.fenced {
			return 1
		}
		return share(s.text.marks, s.text.runes)
	}}
