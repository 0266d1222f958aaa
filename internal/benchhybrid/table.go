package benchhybrid

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"crayon/internal/bench"
)

// table is a head and rows of equal length.
type table = bench.PageTable

// targetTable is what was to be reached.
func (r *Report) targetTable() table {
	t := table{Title: "to reach", Head: []string{"figure", "to reach", "measured [95 %]", "reached"}}
	for _, x := range r.Targets {
		t.Rows = append(t.Rows, []string{x.Name, x.asked(), x.text(), map[bool]string{true: "yes", false: "no"}[x.Reached]})
	}
	return t
}

// routerTable is a row a router. A gain is accuracy less that of sending as many
// at random.
func (r *Report) routerTable() table {
	t := table{Title: "routers, by share sent", Head: []string{"router", "accuracy at 0.1", "0.3", "0.5", "gain over random at 0.1", "gain at 0.3", "gain at 0.5", "area over random", "crayon's area over its",
		"winnable at 0.3", "0.5", "AUROC, device right", "within a user"}}
	for _, name := range r.names() {
		row, gains := []string{name}, []string{}
		for _, s := range shares {
			y := r.Accuracy[name][named(s)]
			row, gains = append(row, three(y)), append(gains, fmt.Sprintf("%+.3f", y-r.Device-s*(r.Server-r.Device)))
		}
		if r.Area[name] == nil { // always the same side
			gains = []string{"-", "-", "-"}
		}
		row = append(append(row, gains...), interval(r.Area[name]), interval(r.AreaOver[name]))
		for _, s := range winShares {
			if x, ok := r.Winnable[name][named(s)]; ok {
				row = append(row, fmt.Sprintf("%.2f", x))
			} else {
				row = append(row, "-")
			}
		}
		rank := r.Ranks[name]
		if rank == nil {
			rank = &Rank{}
		}
		t.Rows = append(t.Rows, append(row, number(rank.AUROC), number(rank.Within)))
	}
	return t
}

// briefTable is what a reader weighs first: how often the answer is right by the
// share sent, chosen by Crayon's route, by the device's own confidence, at random.
func (r *Report) briefTable() table {
	t := table{Title: "right by share sent", Head: []string{"right, with", "none sent", "10 %", "30 %", "50 %", "all sent"}}
	random := map[string]float64{} // as many at random, in the mean
	for _, s := range shares {
		random[named(s)] = r.Device + s*(r.Server-r.Device)
	}
	for _, x := range []struct {
		name string
		at   map[string]float64
	}{{"Crayon's route", r.Accuracy[crayonRouter]}, {"the device's own confidence", r.Accuracy[maxProbability]}, {"queries drawn at random", random}} {
		if x.at == nil {
			continue
		}
		row := []string{x.name, three(r.Device)}
		for _, s := range shares {
			row = append(row, three(x.at[named(s)]))
		}
		t.Rows = append(t.Rows, append(row, three(r.Server)))
	}
	return t
}

// names are of the routers that the report has, in order.
func (r *Report) names() []string {
	out := []string{alwaysDevice, alwaysServer}
	for _, x := range routers {
		if r.Area[x.name] != nil {
			out = append(out, x.name)
		}
	}
	return out
}

// sectionTable is the figures of each device, group of users and server.
func (r *Report) sectionTable() table {
	t := table{Title: "sections", Head: []string{"section", "rows", "device", "server", "AUROC", "within a user", "calibration error", "Brier skill", "area over random", "over max_probability", "over learned", "won of the told gain at 0.3", "0.5"}}
	for _, s := range r.sections() {
		t.Rows = append(t.Rows, []string{s.name, fmt.Sprint(s.Rows), three(s.Device), three(s.Server), number(s.AUROC), number(s.AUROCWithin), number(s.ECE), number(s.BrierSkill),
			interval(s.Area[crayonRouter]), interval(s.AreaOver[maxProbability]), interval(s.AreaOver[learnedRouter]), number(s.Won["0.3"]), number(s.Won["0.5"])})
	}
	return t
}

type namedSection struct {
	name string
	*Section
}

func (r *Report) sections() []namedSection {
	out := []namedSection{{"customised", &r.Section}, {"bare device", r.Bare}, {"transfer", r.Transfer}}
	for _, g := range slices.Sorted(maps.Keys(r.Groups)) {
		out = append(out, namedSection{string(g), r.Groups[g]})
	}
	out = append(out, namedSection{"data sets on which the server is better", r.Better}, namedSection{"the other data sets", r.Worse})
	for _, a := range slices.Sorted(maps.Keys(r.Simulated)) {
		out = append(out, namedSection{"SIMULATED server, " + a, r.Simulated[a]})
	}
	return slices.DeleteFunc(out, func(s namedSection) bool { return s.Section == nil || s.Rows == 0 })
}

// sideTable is who is right how often, by group of users and part of the stream.
func (r *Report) sideTable() table {
	t := table{Title: "accuracy of device and server", Head: []string{"group", "queries", "users", "rows", "bare device", "device", "server", "server minus device"}}
	for _, s := range r.Sides {
		group, part := "all", "all"
		if s.Group != "" {
			group = strings.ReplaceAll(string(s.Group), "_", " ")
		}
		switch s.Part {
		case ownPart:
			part = "of their own task"
		case otherPart:
			part = "of other families"
		}
		t.Rows = append(t.Rows, append([]string{group, part, fmt.Sprint(s.Users), fmt.Sprint(s.Rows)}, s.cells()...))
	}
	return t
}

func (d *Against) cells() []string {
	return []string{three(d.Bare), three(d.Device), three(d.Server), fmt.Sprintf("%+.3f", d.Server-d.Device)}
}

// modelTable is the servers, where there are several.
func (r *Report) modelTable() table {
	t := table{Title: "servers", Head: []string{"server", "users", "rows", "bare device", "device", "server", "server minus device", "seconds an answer", "prompt tokens"}}
	if len(r.Models) < 2 {
		return t
	}
	for _, name := range sortedKeys(r.Models) {
		m := r.Models[name]
		t.Rows = append(t.Rows, append(append([]string{name, fmt.Sprint(m.Users), fmt.Sprint(m.Rows)}, m.cells()...), three(m.Seconds), fmt.Sprintf("%.0f", m.Prompt)))
	}
	return t
}

// formTable is the forms in which the server was asked.
func (r *Report) formTable() table {
	t := table{Title: "the server, by form of the prompt", Head: []string{"form", "accuracy", "on users' own tasks", "on others", "unparsable", "figures are of it"}}
	for _, name := range slices.Sorted(maps.Keys(r.Servers)) {
		v := r.Servers[name]
		t.Rows = append(t.Rows, []string{name, three(v.Accuracy), three(v.Own), three(v.Other), three(v.Unparsable), map[bool]string{true: "yes", false: "-"}[name == r.Asked]})
	}
	return t
}

// setTable is both sides by data set of the query; the server's best first.
func (r *Report) setTable() table {
	t := table{Title: "data sets of the queries", Head: []string{"data set", "rows", "bare device", "device", "server", "server minus device", "the server is"}}
	names := slices.Sorted(maps.Keys(r.Datasets))
	slices.SortStableFunc(names, func(a, b string) int {
		x, y := r.Datasets[a], r.Datasets[b]
		switch d := (x.Server - x.Device) - (y.Server - y.Device); {
		case d > 0:
			return -1
		case d < 0:
			return 1
		}
		return 0
	})
	for _, name := range names {
		d := r.Datasets[name]
		side := "worse"
		if d.Server > d.Device {
			side = "better"
		} else if d.Server == d.Device {
			side = "equal"
		}
		t.Rows = append(t.Rows, append(append([]string{name, fmt.Sprint(d.Rows)}, d.cells()...), side))
	}
	return t
}

// columns are some of a table's.
func columns(t table, at ...int) table {
	pick := func(row []string) []string {
		out := make([]string, len(at))
		for k, i := range at {
			out[k] = row[i]
		}
		return out
	}
	out := table{Title: t.Title, Head: pick(t.Head)}
	for _, row := range t.Rows {
		out.Rows = append(out.Rows, pick(row))
	}
	return out
}
