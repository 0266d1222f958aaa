package signal

var askedLength = Signal{Name: "asked_length", Kind: Query, Early: true,
	About: "logarithm of the words it asks for, where it says so",
	of:    func(s *seen) float64 { return logCount(s.text.asked) }}
