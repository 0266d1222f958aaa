package signal

var questionWord = Signal{Name: "question_word", Kind: Query, Early: true,
	About: "1 where it has a question word, else 0",
	of:    func(s *seen) float64 { return flag(s.text.question) }}

func flag(x bool) float64 {
	if x {
		return 1
	}
	return 0
}
