package examples

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Labels is the label set of ex, sorted, or nil when ex is not a label task. It
// is one when at least two rows all have the same choices; or when no row has
// choices, there are three different answers or more, and the labelled rows
// are at least twice as many as the different answers.
func Labels(ex []Example) []string {
	answers := map[string]bool{}
	labelled, withChoices := 0, 0
	var common []string
	same := true
	for _, e := range ex {
		if e.Labelled {
			labelled++
			answers[e.Answer] = true
		}
		if e.Choices == nil {
			continue
		}
		withChoices++
		sorted := slices.Sorted(slices.Values(e.Choices))
		if common == nil {
			common = sorted
		}
		same = same && slices.Equal(common, sorted)
	}
	switch {
	case withChoices > 0:
		if same && withChoices == len(ex) && len(ex) >= 2 {
			return common
		}
		return nil
	case len(answers) >= 3 && labelled >= 2*len(answers):
		out := make([]string, 0, len(answers))
		for a := range answers {
			out = append(out, a)
		}
		sort.Strings(out)
		return out
	}
	return nil
}

// label finds or checks the label set and gives it to every row.
func (p *reader) label(set *Set, opt Options) error {
	set.Labels = Labels(set.Examples)
	set.Inferred = set.Labels != nil && set.Examples[0].Choices == nil
	if opt.Labels != nil {
		labels, err := p.given(opt.Labels)
		if err != nil {
			return err
		}
		set.Labels, set.Inferred = labels, false
	}
	if set.Labels == nil {
		return nil
	}
	spelt := map[string]string{}
	for _, l := range set.Labels {
		if other, twice := spelt[fold(l)]; twice {
			line := 0
			for _, e := range set.Examples {
				if e.Answer == l || e.Answer == other {
					line = e.Line
				}
			}
			return p.fail(line, fmt.Errorf("field answer: labels %q and %q differ only in case or spacing", short(other), short(l)), "spell them alike")
		}
		spelt[fold(l)] = l
	}
	for i := range set.Examples {
		e := &set.Examples[i]
		if e.Labelled && !slices.Contains(set.Labels, e.Answer) {
			return p.fail(e.Line, fmt.Errorf("field answer: %q is not one of the labels", short(e.Answer)), "did you mean "+quote(nearest(e.Answer, set.Labels))+"?")
		}
		e.Choices = set.Labels
	}
	return nil
}

// given is the user's own label set, checked and sorted.
func (p *reader) given(labels []string) ([]string, error) {
	var out []string
	for _, l := range labels {
		if l = strings.TrimSpace(l); l != "" && !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	if len(out) < 2 {
		return nil, p.fail(0, errors.New("a label set needs two labels at least"), "name two labels or more, or none")
	}
	sort.Strings(out)
	return out, nil
}
