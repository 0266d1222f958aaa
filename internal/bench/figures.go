package bench

import (
	"cmp"
	"math"
	"slices"
)

// Thresholds of worse_users.
const (
	worseLevel  = 0.05 // of the exact one-sided McNemar test, uncorrected
	worseRows   = 70   // rows a user needs to be tested
	worseMargin = 0.05 // accuracy below base
)

// Figure is one strategy over the users of a section.
type Figure struct {
	Accuracy    float64 `json:"accuracy"` // macro: mean over users in a data set, then over data sets
	Low         float64 `json:"low"`      // 95 % interval, hierarchical bootstrap
	High        float64 `json:"high"`
	AboveChance float64 `json:"above_chance"` // macro of (accuracy - chance) / (1 - chance)
	Users       int     `json:"users"`
	Rows        int     `json:"rows"`
}

// Tally counts where one side does better than the other.
type Tally struct {
	Wins   int `json:"wins"`
	Losses int `json:"losses"`
	Ties   int `json:"ties"`
}

func (t *Tally) add(difference float64) {
	const tie = 1e-12 // accuracies of equal counts may differ in the last bit
	switch {
	case difference > tie:
		t.Wins++
	case difference < -tie:
		t.Losses++
	default:
		t.Ties++
	}
}

// Difference is one strategy minus another over the users of a section.
type Difference struct {
	Difference float64 `json:"difference"` // of macro accuracies
	Low        float64 `json:"low"`        // 95 % interval, paired hierarchical bootstrap
	High       float64 `json:"high"`
	Users      Tally   `json:"users"` // by accuracy
	Rows       Tally   `json:"rows"`  // by credit
	// P is the exact one-sided McNemar probability of so many row wins by
	// luck, rows taken as independent; absent where a side guesses blindly.
	P *float64 `json:"p,omitempty"`
}

// Section is the figures over some users.
type Section struct {
	Users       int                    `json:"users"`
	Rows        int                    `json:"rows"`
	Macro       map[string]*Figure     `json:"macro"`       // by strategy
	Differences map[string]*Difference `json:"differences"` // by "a-b"
	ByDataset   map[string]*Section    `json:"by_dataset,omitempty"`
}

// UserFigures is one user's accuracies.
type UserFigures struct {
	Dataset  string             `json:"dataset"`
	Group    Group              `json:"group"`
	Rows     int                `json:"rows"`
	Chance   float64            `json:"chance"`
	Accuracy map[string]float64 `json:"accuracy"` // by strategy
}

// Worse says how many users a strategy harms.
type Worse struct {
	Tested      int      `json:"tested"`      // users with at least 70 rows
	Significant []string `json:"significant"` // of these, worse than base: exact one-sided McNemar, 5 %, uncorrected
	Below       []string `json:"below"`       // of all users, more than 0.05 below base
}

// Figures is everything that follows from the records.
type Figures struct {
	Section
	// Groups holds seen, new_subjects, new_datasets, related and left_out
	// (both new ones) by what the pool was trained on, and, where some users
	// ask one constant question, `varied` and <group>_varied without them.
	Groups     map[Group]*Section      `json:"groups"`
	ByUser     map[string]*UserFigures `json:"by_user"`
	WorseUsers map[string]*Worse       `json:"worse_users"` // by strategy
}

// Summarise makes the figures of records. The same records, seed and number
// of resamples give the same figures, whatever the records' order.
func Summarise(records []Record, seed uint64, resamples int) *Figures {
	names := strategiesOf(records)
	tasks := tasksOf(records, names)
	m := &maker{names: names, seed: seed, resamples: resamples}
	f := &Figures{Section: *m.section(tasks, true), Groups: map[Group]*Section{},
		ByUser: map[string]*UserFigures{}, WorseUsers: map[string]*Worse{}}
	varied := func(t *task) bool { return !t.constant }
	in := map[Group]func(*task) bool{
		LeftOut: func(t *task) bool { return t.group == NewDataset || t.group == NewSubject },
		"":      func(*task) bool { return true },
	}
	for _, g := range []Group{Seen, NewSubject, NewDataset, Related} {
		in[g] = func(t *task) bool { return t.group == g }
	}
	for g, member := range in {
		some := filter(tasks, member)
		if len(some) > 0 && g != "" {
			f.Groups[g] = m.section(some, true)
		}
		if rest := filter(some, varied); len(rest) > 0 && len(rest) < len(some) {
			name := g + "_varied"
			if g == "" {
				name = "varied"
			}
			f.Groups[name] = m.section(rest, false)
		}
	}
	for _, t := range tasks {
		f.ByUser[t.name] = m.user(t)
	}
	if base := slices.Index(names, "base"); base >= 0 {
		for s, name := range names {
			if s != base && name != chance && name != majority {
				f.WorseUsers[name] = m.worse(tasks, s, base)
			}
		}
	}
	return f
}

// strategiesOf returns the strategies of the first record, in table order.
func strategiesOf(records []Record) []string {
	var names []string
	for _, s := range strategies {
		if _, ok := records[0].Picks[s.name]; ok {
			names = append(names, s.name)
		}
	}
	return names
}

func tasksOf(records []Record, names []string) []*task {
	byUser := map[string]*task{}
	var tasks []*task
	sorted := slices.Clone(records)
	slices.SortStableFunc(sorted, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Dataset, b.Dataset), cmp.Compare(a.User, b.User),
			cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.ID, b.ID))
	})
	for i := range sorted {
		r := &sorted[i]
		t := byUser[r.User]
		if t == nil {
			t = &task{name: r.User, dataset: r.Dataset, group: r.Group, constant: r.Constant}
			byUser[r.User] = t
			tasks = append(tasks, t)
		}
		credits := make([]float64, len(names))
		for s, name := range names {
			credits[s] = r.credit(name)
		}
		t.credits = append(t.credits, credits)
		t.chance += 1 / float64(r.Choices)
	}
	for _, t := range tasks {
		t.chance /= float64(len(t.credits))
	}
	return tasks
}

func filter(tasks []*task, keep func(*task) bool) []*task {
	var out []*task
	for _, t := range tasks {
		if keep(t) {
			out = append(out, t)
		}
	}
	return out
}

// maker holds what every section needs.
type maker struct {
	names     []string
	seed      uint64
	resamples int
}

func (m *maker) section(tasks []*task, byDataset bool) *Section {
	sets := datasets(tasks)
	sec := &Section{Users: len(tasks), Macro: map[string]*Figure{}, Differences: map[string]*Difference{}}
	for _, t := range tasks {
		sec.Rows += len(t.credits)
	}
	samples := bootstrap(sets, len(m.names), m.resamples, m.seed)
	for _, pair := range comparisons {
		a, b := slices.Index(m.names, pair[0]), slices.Index(m.names, pair[1])
		if a >= 0 && b >= 0 {
			sec.Differences[pair[0]+"-"+pair[1]] = m.difference(sets, samples, a, b)
		}
	}
	for s, name := range m.names {
		low, high := interval(samples[s])
		sec.Macro[name] = &Figure{
			Accuracy: figure(macro(sets, func(t *task) float64 { return t.accuracy(s) })),
			Low:      figure(low), High: figure(high),
			AboveChance: figure(macro(sets, func(t *task) float64 { return (t.accuracy(s) - t.chance) / (1 - t.chance) })),
			Users:       sec.Users, Rows: sec.Rows,
		}
	}
	if byDataset {
		sec.ByDataset = map[string]*Section{}
		for _, set := range sets {
			sec.ByDataset[set[0].dataset] = m.section(set, false)
		}
	}
	return sec
}

func (m *maker) difference(sets [][]*task, samples [][]float64, a, b int) *Difference {
	d := &Difference{Difference: figure(macro(sets, func(t *task) float64 { return t.accuracy(a) - t.accuracy(b) }))}
	diffs := make([]float64, m.resamples)
	for i := range diffs {
		diffs[i] = samples[a][i] - samples[b][i]
	}
	low, high := interval(diffs)
	d.Low, d.High = figure(low), figure(high)
	binary := true
	for _, set := range sets {
		for _, t := range set {
			d.Users.add(t.accuracy(a) - t.accuracy(b))
			for _, c := range t.credits {
				d.Rows.add(c[a] - c[b])
				binary = binary && whole(c[a]) && whole(c[b])
			}
		}
	}
	if binary {
		p := significant(McNemar(d.Rows.Wins, d.Rows.Losses))
		d.P = &p
	}
	return d
}

func whole(credit float64) bool { return credit == 0 || credit == 1 }

func (m *maker) user(t *task) *UserFigures {
	u := &UserFigures{Dataset: t.dataset, Group: t.group, Rows: len(t.credits), Chance: figure(t.chance), Accuracy: map[string]float64{}}
	for s, name := range m.names {
		u.Accuracy[name] = figure(t.accuracy(s))
	}
	return u
}

func (m *maker) worse(tasks []*task, s, base int) *Worse {
	w := &Worse{Significant: []string{}, Below: []string{}}
	for _, t := range tasks {
		var rows Tally
		for _, c := range t.credits {
			rows.add(c[base] - c[s])
		}
		if len(t.credits) >= worseRows {
			w.Tested++
			if McNemar(rows.Wins, rows.Losses) < worseLevel {
				w.Significant = append(w.Significant, t.name)
			}
		}
		if t.accuracy(base)-t.accuracy(s) > worseMargin+1e-12 {
			w.Below = append(w.Below, t.name)
		}
	}
	return w
}

// figure rounds to six decimals, so that figures made on another processor,
// whose last bits may differ, are equal.
func figure(x float64) float64 { return round(x, 6) }

// significant rounds to six significant digits, as figure does for
// probabilities of any size.
func significant(x float64) float64 {
	if x == 0 {
		return 0
	}
	return round(x, 5-int(math.Floor(math.Log10(math.Abs(x)))))
}
