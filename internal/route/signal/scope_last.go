package signal

var scopeLast = Signal{Name: "scope_last", Kind: Scope, Early: true,
	About: "the same of the last turn alone",
	of:    func(s *seen) float64 { return s.last }}
