package signal

var latin = Signal{Name: "latin", Kind: Query, Early: true,
	About: "share of its letters that are Latin",
	of:    func(s *seen) float64 { return share(s.text.latin, s.text.letters) }}
