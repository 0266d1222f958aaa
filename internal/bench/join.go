package bench

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"crayon/internal/fault"
)

// Join makes one report of several of the same users, rows, examples and pool,
// each with strategies of its own: what is measured later stands beside what
// was there, paired. Of a strategy that several have, the first report's counts.
// Users that not all have are left out.
func Join(paths []string) (*Report, []Sheet, error) {
	fail := func(path string, err error, hint string) (*Report, []Sheet, error) {
		return nil, nil, &fault.Error{Op: "join benchmark reports", Path: path, Err: err, Exit: fault.ExitUsage, Hint: hint}
	}
	if len(paths) < 2 {
		return fail("", errors.New("there is nothing to join"), "crayon bench join NEW.json OLD.json --out BOTH.json --raw BOTH.jsonl.gz")
	}
	var out *Report
	var sheets []Sheet
	for i, path := range paths {
		r, all, err := ReadVerified(path)
		if err != nil {
			return nil, nil, err
		}
		if len(r.Inputs) > 0 {
			return fail(path, errors.New("it is merged or joined itself"), "join the reports that it is of, then merge")
		}
		in := Input{File: filepath.Base(path), Digests: r.Digests, Strategies: r.Settings.Strategies}
		if i == 0 {
			out, sheets = r, all
			out.Inputs = []Input{in}
			continue
		}
		if what := out.Settings.unlike(&r.Settings); what != "" {
			return fail(path, fmt.Errorf("%s differ from those of %s", what, paths[0]), "run both with the same options")
		}
		for _, of := range []string{"model", "pool"} {
			if r.Digests[of] != out.Digests[of] {
				return fail(path, fmt.Errorf("another %s than that of %s", of, paths[0]), "join runs of one "+of)
			}
		}
		in.Strategies = slices.DeleteFunc(slices.Clone(in.Strategies), func(name string) bool { return slices.Contains(out.Settings.Strategies, name) })
		if len(in.Strategies) == 0 {
			return fail(path, errors.New("all its strategies are in those before it"), "name it earlier, or leave it out")
		}
		if sheets, err = beside(sheets, all, in.Strategies); err != nil {
			return fail(path, err, "join runs over the same users, rows and examples")
		}
		out.Inputs = append(out.Inputs, in)
		out.Settings.Strategies = inOrder(append(slices.Clone(out.Settings.Strategies), in.Strategies...))
		for _, name := range in.Strategies {
			if t := r.Timing[name]; t != nil {
				out.Timing[name] = t
			}
		}
	}
	if len(sheets) == 0 {
		return fail("", errors.New("no user is in all reports"), "join runs over the same users")
	}
	out.Samples, out.Chats, out.Raw = nil, nil, ""
	delete(out.Digests, "raw")
	delete(out.Digests, "prior") // each has its own: Inputs
	out.Figures = *Summarise(sheets, out.Settings.Seed, out.Settings.Resamples)
	return out, sheets, nil
}

// beside adds to the sheets what others of the same user, examples and draw
// have of the strategies; sheets that only one side has are dropped.
func beside(sheets, others []Sheet, names []string) ([]Sheet, error) {
	of := map[string]*Sheet{}
	for i := range others {
		of[others[i].key()] = &others[i]
	}
	var out []Sheet
	for _, s := range sheets {
		o := of[s.key()]
		if o == nil {
			continue
		}
		if s.Group != o.Group || !slices.Equal(s.IDs, o.IDs) || !slices.Equal(s.Choices, o.Choices) || !slices.Equal(s.Answers, o.Answers) {
			return nil, fmt.Errorf("%s, k = %d, draw %d: other rows", s.User, s.Shots, s.Draw)
		}
		s.Picks, s.Said = with(s.Picks, o.Picks, names), with(s.Said, o.Said, names)
		s.Scores, s.Sums = with(s.Scores, o.Scores, names), with(s.Sums, o.Sums, names)
		s.Chosen, s.Chat = with(s.Chosen, o.Chosen, names), with(s.Chat, o.Chat, names)
		if s.Lengths == nil {
			s.Lengths = o.Lengths
		}
		out = append(out, s)
	}
	return out, nil
}

// with is a copy of m with what more has under the names.
func with[V any](m, more map[string]V, names []string) map[string]V {
	out := maps.Clone(m)
	for _, name := range names {
		if v, ok := more[name]; ok {
			if out == nil {
				out = map[string]V{}
			}
			out[name] = v
		}
	}
	return out
}
