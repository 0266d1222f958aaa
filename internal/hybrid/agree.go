package hybrid

import (
	"strings"
	"unicode"
)

// Agreement of two answers, 0 to 1: 1 if they are the same but for case,
// spacing and punctuation, else the F1 of their words.
func Agreement(a, b string) float64 {
	x, y := words(a), words(b)
	if len(x) == 0 || len(y) == 0 {
		if len(x) == len(y) {
			return 1
		}
		return 0
	}
	count := map[string]int{}
	for _, w := range x {
		count[w]++
	}
	same := 0
	for _, w := range y {
		if count[w] > 0 {
			count[w]--
			same++
		}
	}
	return 2 * float64(same) / float64(len(x)+len(y))
}

// Matches says whether an answer is the right one: the same words, or, among
// choices, the only one whose words it has in a row.
func Matches(answer, right string, choices []string) bool {
	if i := Pick(answer, choices); i >= 0 {
		return choices[i] == right
	}
	return len(choices) == 0 && strings.Join(words(answer), " ") == strings.Join(words(right), " ")
}

// Pick is the choice that an answer names: the one with the same words, else the
// only one whose words it has in a row, of several the one that holds the others;
// -1 if none is.
func Pick(answer string, choices []string) int {
	said := " " + strings.Join(words(answer), " ") + " "
	found := -1
	for i, c := range choices {
		own := " " + strings.Join(words(c), " ") + " "
		switch {
		case own == said:
			return i
		case strings.TrimSpace(own) == "" || !strings.Contains(said, own):
		case found < 0 || strings.Contains(own, " "+strings.Join(words(choices[found]), " ")+" "):
			found = i
		case !strings.Contains(" "+strings.Join(words(choices[found]), " ")+" ", own):
			return -1 // it names two
		}
	}
	return found
}

func words(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}
