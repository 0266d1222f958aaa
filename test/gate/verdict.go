package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// state is what became of a count.
type state string

const (
	same   state = "same"
	grown  state = "GROWN"
	shrunk state = "shrunk"
	fresh  state = "NEW"      // the baseline does not have it
	gone   state = "GONE"     // the baseline has it, and nothing counts it any more
	absent state = "left out" // its subject is not here
)

// verdict is one count beside its baseline.
type verdict struct {
	name     string
	old, now int64
	slack    int64
	state    state
}

// compare holds counts to a baseline, in the order of the counts; then come the
// entries that nothing was counted for.
func compare(b *Baseline, counts []Count, leftOut []string) []verdict {
	old := map[string]Entry{}
	for _, e := range b.Counts {
		old[e.Name] = e
	}
	var out []verdict
	for _, c := range counts {
		e, ok := old[c.Name]
		delete(old, c.Name)
		v := verdict{name: c.Name, old: e.Value, now: c.Value, slack: e.Slack, state: same}
		switch {
		case !ok:
			v.state = fresh
		case c.Value > e.Value+e.Slack:
			v.state = grown
		case c.Value < e.Value-e.Slack:
			v.state = shrunk
		}
		out = append(out, v)
	}
	for _, e := range b.Counts {
		if _, left := old[e.Name]; !left {
			continue
		}
		v := verdict{name: e.Name, old: e.Value, slack: e.Slack, state: gone}
		if isOf(e.Name, leftOut) {
			v.state = absent
		}
		out = append(out, v)
	}
	return out
}

// isOf says whether a count's name begins with one of the subjects.
func isOf(name string, subjects []string) bool {
	subject, _, _ := strings.Cut(name, ".")
	return slices.Contains(subjects, subject)
}

// String is the verdict in words.
func (v verdict) String() string {
	switch v.state {
	case fresh:
		return fmt.Sprintf("%s is new: %d, not in the baseline", v.name, v.now)
	case gone:
		return fmt.Sprintf("%s is gone: %d in the baseline, no longer counted", v.name, v.old)
	}
	return fmt.Sprintf("%s has %s from %d to %d (slack %d)", v.name, strings.ToLower(string(v.state)), v.old, v.now, v.slack)
}

// table writes a line for each count.
func table(w io.Writer, all []verdict) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "count\tbaseline\tslack\tnow\t\t")
	for _, v := range all {
		now, old := fmt.Sprint(v.now), fmt.Sprint(v.old)
		if v.state == absent || v.state == gone {
			now = "-"
		}
		if v.state == fresh {
			old = "-"
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t\n", v.name, old, v.slack, now, v.state)
	}
	return t.Flush()
}

// pick is the verdicts of some states.
func pick(all []verdict, states ...state) (out []verdict) {
	for _, v := range all {
		if slices.Contains(states, v.state) {
			out = append(out, v)
		}
	}
	return out
}
