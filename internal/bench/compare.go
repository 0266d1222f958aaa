package bench

import (
	"errors"
	"fmt"
	"slices"

	"crayon/internal/fault"
)

// Compare is one strategy of run b minus the same of run a, by group: paired
// over the rows, which must be the same. Both are taken at a's headline k.
func Compare(a, b []Sheet, strategy string, seed uint64, resamples int) (map[Group]*Difference, error) {
	fail := func(err error) (map[Group]*Difference, error) {
		return nil, &fault.Error{Op: "compare benchmark runs", Err: err, Exit: fault.ExitUsage, Hint: "run both with the same options and data"}
	}
	if len(a) == 0 {
		return fail(errors.New("no row"))
	}
	ks := make([]int, len(a))
	of := map[string]*Sheet{}
	for i := range a {
		ks[i] = a[i].Shots
	}
	place := func(s *Sheet) string { return fmt.Sprintf("%s\x00%d\x00%d", s.User, s.Shots, s.Draw) }
	for i := range b {
		of[place(&b[i])] = &b[i]
	}
	k := headline(ks)
	var both []*Sheet
	for i := range a {
		x := &a[i]
		if x.Shots != k || x.Picks[strategy] == nil {
			continue
		}
		y := of[place(x)]
		if y == nil || y.Picks[strategy] == nil || !slices.Equal(x.IDs, y.IDs) || !slices.Equal(x.Answers, y.Answers) {
			return fail(fmt.Errorf("%s: other rows, or no %s", x.User, strategy))
		}
		joint := *x
		joint.Picks = map[string][]int{"a": x.Picks[strategy], "b": y.Picks[strategy]}
		both = append(both, &joint)
	}
	if len(both) == 0 {
		return fail(fmt.Errorf("no row of %s", strategy))
	}
	m := newMaker(both, pickNames, (*Sheet).credit, seed, resamples)
	out := map[Group]*Difference{}
	m.each(func(g Group, some []*subject) {
		sets := datasets(some)
		out[g] = m.difference(sets, bootstrap(sets, 2, resamples, seed), 1, 0)
	})
	return out, nil
}
