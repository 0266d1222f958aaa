package bench

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"crayon/internal/fault"
)

// Merge makes one report of several runs: of each run the users of the group,
// so of five runs with pools that each left some families out (NewDataset) one
// table in which every data set is scored by a pool that has not seen its
// family. Runs with pools of other training seeds are repeats of one another.
// The runs must have been asked the same; strategies that one lacks are left
// out of all.
func Merge(paths []string, group Group) (*Report, []Sheet, error) {
	fail := func(path string, err error, hint string) (*Report, []Sheet, error) {
		return nil, nil, &fault.Error{Op: "merge benchmark reports", Path: path, Err: err, Exit: fault.ExitUsage, Hint: hint}
	}
	if len(paths) == 0 {
		return fail("", errors.New("no report is named"), "crayon bench merge A.json B.json --out ALL.json --raw ALL.jsonl.gz")
	}
	var out *Report
	var sheets []Sheet
	names := map[string]int{}
	for _, path := range paths {
		r, all, err := ReadVerified(path)
		if err != nil {
			return nil, nil, err
		}
		if out == nil {
			out = &Report{Settings: r.Settings, Timing: map[string]*Timing{}, Environment: r.Environment,
				Digests: map[string]string{"model": r.Digests["model"]}, Notes: []string{}}
		}
		if what := out.Settings.unlike(&r.Settings); what != "" {
			return fail(path, fmt.Errorf("%s differ from those of %s", what, paths[0]), "run both with the same options")
		}
		if r.Digests["model"] != out.Digests["model"] {
			return fail(path, errors.New("another model"), "merge runs of one model")
		}
		in := Input{File: filepath.Base(path), Digests: r.Digests, Of: r.Inputs}
		for _, s := range all {
			if s.Group != group {
				continue
			}
			sheets = append(sheets, s)
			if !slices.Contains(in.Datasets, s.Dataset) {
				in.Datasets = append(in.Datasets, s.Dataset)
			}
		}
		if len(in.Datasets) == 0 {
			return fail(path, fmt.Errorf("no user of the group %s", group), "name only reports that have some")
		}
		out.Inputs = append(out.Inputs, in)
		out.take(r)
		for _, name := range r.Settings.Strategies {
			names[name]++
		}
	}
	out.keep(names, len(paths), sheets)
	slices.SortFunc(sheets, func(a, b Sheet) int { return cmp.Compare(a.key(), b.key()) })
	if err := checkSheets(sheets); err != nil {
		return fail("", err, "each data set must come from one fold; repeats must differ in the pool's training seed")
	}
	out.Figures = *Summarise(sheets, out.Settings.Seed, out.Settings.Resamples)
	out.Notes = append(out.Notes, out.Contamination.note()...)
	return out, sheets, nil
}

// unlike names what of the settings two runs must share and do not.
func (s *Settings) unlike(o *Settings) string {
	for _, c := range []struct {
		what string
		same bool
	}{
		{"seed", s.Seed == o.Seed}, {"shots", slices.Equal(s.Shots, o.Shots)}, {"draws", s.Draws == o.Draws},
		{"rows", s.Rows == o.Rows}, {"budgets", s.Budget == o.Budget}, {"resamples", s.Resamples == o.Resamples},
	} {
		if !c.same {
			return c.what
		}
	}
	return ""
}

// take adds what a run has beside its figures.
func (r *Report) take(from *Report) {
	r.Samples = append(r.Samples, from.Samples...)
	r.Chats = append(r.Chats, from.Chats...)
	for _, n := range from.Notes {
		if !slices.Contains(r.Notes, n) && !strings.HasPrefix(n, foundNote) {
			r.Notes = append(r.Notes, n)
		}
	}
	for name, t := range from.Timing {
		all := r.Timing[name]
		if all == nil {
			all = &Timing{}
			r.Timing[name] = all
		}
		all.add(t)
		all.settle()
	}
}

// keep leaves only the strategies that every run has, and what belongs to the
// users that are kept.
func (r *Report) keep(names map[string]int, runs int, sheets []Sheet) {
	users := map[string]bool{}
	for i := range sheets {
		users[sheets[i].User] = true
	}
	var kept, lost []string
	for name, n := range names {
		if n == runs {
			kept = append(kept, name)
		} else {
			lost = append(lost, name)
			delete(r.Timing, name)
		}
	}
	r.Settings.Strategies = inOrder(kept)
	r.Settings.Datasets, r.Settings.Groups = []string{}, nil
	if len(lost) > 0 {
		r.Notes = append(r.Notes, "left out, as not all runs have them: "+strings.Join(inOrder(lost), ", "))
	}
	gone := func(name string) bool { return slices.Contains(lost, name) }
	for i := range sheets {
		s := &sheets[i]
		s.Picks, s.Said = without(s.Picks, gone), without(s.Said, gone)
		s.Scores, s.Chosen, s.Chat = without(s.Scores, gone), without(s.Chosen, gone), without(s.Chat, gone)
		s.Sums = without(s.Sums, gone)
	}
	r.Samples = slices.DeleteFunc(r.Samples, func(x Sample) bool { return !users[x.User] || gone(x.Strategy) })
	r.Chats = slices.DeleteFunc(r.Chats, func(x ChatSample) bool { return !users[x.User] || gone(x.Strategy) })
}

// without is a copy of m without the keys that are gone.
func without[V any](m map[string]V, gone func(string) bool) map[string]V {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(name string, _ V) bool { return gone(name) })
	return out
}
