package strategy

import "slices"

// Kind is what a task's candidates are.
type Kind string

// The kinds.
const (
	Labels  Kind = "labels"  // a label set that every prompt lists
	Fixed   Kind = "fixed"   // the same few answers for every row, not listed: yes or no
	Choices Kind = "choices" // each row has its own
)

// Kinds are all of them.
var Kinds = []Kind{Labels, Fixed, Choices}

// KindOf tells a task's kind from its labels and its rows; without either it
// is Choices.
func KindOf(t Task) Kind {
	if len(t.Labels) > 0 {
		return Labels
	}
	if len(t.Rows) < 2 {
		return Choices
	}
	first := sorted(t.Rows[0].Candidates)
	for i := range t.Rows[1:] {
		if !slices.Equal(first, sorted(t.Rows[1+i].Candidates)) {
			return Choices
		}
	}
	return Fixed
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}
