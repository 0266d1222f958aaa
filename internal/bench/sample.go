package bench

// Sample is a row that the customised model won or lost against the base model.
type Sample struct {
	User       string   `json:"user"`
	Question   string   `json:"question"`
	Choices    []string `json:"choices"`
	Answer     int      `json:"answer"`
	Strategy   string   `json:"strategy"`
	Customised int      `json:"customised"` // what it picked
	Base       int      `json:"base"`
}

// Bounds of the samples of a user.
const (
	sampleEach    = 1   // rows won, and as many lost
	sampleText    = 300 // runes of a question
	sampleChoice  = 120 // runes of a choice
	sampleChoices = 16
)

// samplesOf are a user's first rows won and lost by chosen, or blend, against
// the base model.
func samplesOf(u *User, s *Sheet) []Sample {
	name := "chosen"
	if s.Picks[name] == nil {
		name = "blend"
	}
	if s.Picks[name] == nil || s.Picks[base] == nil {
		return nil
	}
	var out []Sample
	won, lost := 0, 0
	for i := range s.IDs {
		a, b := s.Picks[name][i], s.Picks[base][i]
		switch row := &u.scored[i]; {
		case len(row.Choices) > sampleChoices:
			continue
		case a == s.Answers[i] && b != s.Answers[i] && won < sampleEach:
			won++
		case a != s.Answers[i] && b == s.Answers[i] && lost < sampleEach:
			lost++
		default:
			continue
		}
		x := Sample{User: u.Name, Question: cut(u.scored[i].Question, sampleText), Answer: s.Answers[i], Strategy: name, Customised: a, Base: b}
		for _, c := range u.scored[i].Choices {
			x.Choices = append(x.Choices, cut(c, sampleChoice))
		}
		out = append(out, x)
	}
	return out
}

// cut keeps the first runes of a text.
func cut(text string, runes int) string {
	r := []rune(text)
	if len(r) <= runes {
		return text
	}
	return string(r[:runes]) + "…"
}
