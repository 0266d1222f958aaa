package bench

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/gonum/stat"

	"crayon/internal/qa"
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
	StdErr      float64 `json:"stderr,omitempty"` // standard deviation of the bootstrap's resamples; reports of before it have none
	AboveChance float64 `json:"above_chance"`     // macro of (accuracy - chance) / (1 - chance)
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

// rate is the share of wins, ties half.
func (t Tally) rate() float64 {
	return (float64(t.Wins) + float64(t.Ties)/2) / float64(max(1, t.Wins+t.Losses+t.Ties))
}

// Difference is one strategy minus another over the users of a section.
type Difference struct {
	Difference float64 `json:"difference"` // of macro accuracies
	Low        float64 `json:"low"`        // 95 % interval, paired hierarchical bootstrap
	High       float64 `json:"high"`
	Users      Tally   `json:"users"`    // by accuracy over all draws
	WinRate    float64 `json:"win_rate"` // of users, ties half
	Rows       Tally   `json:"rows"`     // by credit, at the first draw
	// P is the exact one-sided McNemar probability of so many row wins by
	// luck, rows taken as independent; absent where a side guesses blindly.
	P *float64 `json:"p,omitempty"`
}

// Section is the figures over some users.
type Section struct {
	Users       int                    `json:"users"`
	Rows        int                    `json:"rows"`
	Datasets    []string               `json:"datasets"`
	Macro       map[string]*Figure     `json:"macro"`                 // by strategy
	Differences map[string]*Difference `json:"differences,omitempty"` // by "a-b"
}

// UserFigures is one user's accuracies.
type UserFigures struct {
	Dataset  string             `json:"dataset"`
	Group    Group              `json:"group"`
	Fold     int                `json:"fold,omitempty"`
	Rows     int                `json:"rows"`
	Chance   float64            `json:"chance"`
	Accuracy map[string]float64 `json:"accuracy"` // by strategy, over all draws
	// StdErr is sqrt(p (1 - p) / (rows - 1)) of the accuracies p, by strategy;
	// reports of before it have none.
	StdErr map[string]float64 `json:"stderr,omitempty"`
}

// Worse says how many users a strategy harms.
type Worse struct {
	Tested      int      `json:"tested"`      // users with at least 70 rows
	Significant []string `json:"significant"` // of these, worse than base at the first draw: exact one-sided McNemar, 5 %, uncorrected
	Below       []string `json:"below"`       // of all users, more than 0.05 below base, over all draws
}

// Figures is everything that follows from the sheets. What is not said to be
// by number of examples is at Headline examples.
type Figures struct {
	Headline int `json:"headline"` // k of the figures: 16 if it was run, else the largest
	Draws    int `json:"draws"`
	Section
	ByDataset map[string]*Section `json:"by_dataset"`
	// Groups holds seen, new_subjects, new_datasets, related and left_out
	// (both new ones) by what the pool was trained on; of new_datasets those
	// of the folds for tuning and of those for reporting; and, where some users
	// ask one constant question, `varied` and <group>_varied without them.
	Groups map[Group]*Section `json:"groups"`
	// ByShots has for every k the macro figures, by group; "all" is every user.
	ByShots    map[string]map[Group]map[string]*Figure `json:"by_shots"`
	ByUser     map[string]*UserFigures                 `json:"by_user"`
	WorseUsers map[string]*Worse                       `json:"worse_users"` // by strategy
	// ChosenByUser counts what a selecting strategy selected, over draws.
	ChosenByUser map[string]map[string]map[string]int `json:"chosen_by_user,omitempty"` // strategy, user, selected
	// Said is how often the greedy answer is exactly the right one.
	Said map[Group]map[string]*Figure `json:"said,omitempty"`
	// Elsewhere is what the strategies do to plain chat.
	Elsewhere map[string]*Elsewhere `json:"elsewhere,omitempty"`
	// Contamination counts scored rows that the pool or the user's examples
	// have too; Clean is the macro figures without them, where there are some.
	Contamination *Contamination               `json:"contamination,omitempty"`
	Clean         map[Group]map[string]*Figure `json:"clean,omitempty"`
}

// all stands for every user where a group is asked for.
const all Group = "all"

// Summarise makes the figures of sheets that ReadRaw would take. The same
// sheets, seed and number of resamples give the same figures, whatever the
// sheets' order.
func Summarise(sheets []Sheet, seed uint64, resamples int) *Figures {
	f := &Figures{ByShots: map[string]map[Group]map[string]*Figure{}, ChosenByUser: map[string]map[string]map[string]int{}}
	byShots := map[int][]*Sheet{}
	sorted := make([]*Sheet, len(sheets))
	for i := range sheets {
		sorted[i] = &sheets[i]
	}
	slices.SortFunc(sorted, func(a, b *Sheet) int { return cmp.Compare(a.key(), b.key()) })
	for _, s := range sorted {
		byShots[s.Shots] = append(byShots[s.Shots], s)
		f.Draws = max(f.Draws, s.Draw+1)
	}
	f.Headline = headline(sortedInts(byShots))
	for _, k := range sortedInts(byShots) {
		m := newMaker(byShots[k], pickNames, (*Sheet).credit, seed, resamples)
		if len(m.subjects) == 0 {
			continue
		}
		f.ByShots[strconv.Itoa(k)] = m.macros()
		if k == f.Headline {
			m.headline(f)
		}
	}
	f.chosen(byShots[f.Headline])
	if m := newMaker(byShots[f.Headline], saidNames, (*Sheet).said, seed, resamples); len(m.names) > 0 {
		f.Said = m.macros()
	}
	f.Elsewhere = hear(byShots[f.Headline])
	if f.Contamination = count(byShots[f.Headline]); f.Contamination != nil {
		if some := cleaned(byShots[f.Headline]); len(some) > 0 {
			f.Clean = newMaker(some, pickNames, (*Sheet).credit, seed, resamples).macros()
		}
	}
	return f
}

// headline is the k whose figures stand for a run.
func headline(ks []int) int {
	if slices.Contains(ks, defaultShots) {
		return defaultShots
	}
	return slices.Max(ks)
}

func pickNames(s *Sheet) []string { return sorted(s.Picks) }
func saidNames(s *Sheet) []string { return sorted(s.Said) }

// said is 1 where the greedy answer was right.
func (s *Sheet) said(strategy string, row int) float64 { return float64(s.Said[strategy][row]) }

// chosen counts selections.
func (f *Figures) chosen(sheets []*Sheet) {
	for _, s := range sheets {
		for by, picked := range s.Chosen {
			if f.ChosenByUser[by] == nil {
				f.ChosenByUser[by] = map[string]map[string]int{}
			}
			if f.ChosenByUser[by][s.User] == nil {
				f.ChosenByUser[by][s.User] = map[string]int{}
			}
			f.ChosenByUser[by][s.User][picked]++
		}
	}
}

// maker makes the sections of one number of examples.
type maker struct {
	names     []string
	subjects  []*subject
	seed      uint64
	resamples int
}

// newMaker takes the sheets that have what names lists; credit is of a row.
func newMaker(sheets []*Sheet, namesOf func(*Sheet) []string, credit func(*Sheet, string, int) float64, seed uint64, resamples int) *maker {
	m := &maker{seed: seed, resamples: resamples}
	var some []*Sheet
	for _, s := range sheets {
		if names := namesOf(s); len(names) > 0 {
			some, m.names = append(some, s), names
		}
	}
	m.names = inOrder(m.names)
	slices.SortFunc(some, func(a, b *Sheet) int {
		return cmp.Or(cmp.Compare(a.Dataset, b.Dataset), cmp.Compare(a.User, b.User), cmp.Compare(a.Train, b.Train), cmp.Compare(a.Draw, b.Draw))
	})
	byUser := map[string]*subject{}
	train := map[string]uint64{}
	for _, s := range some {
		t := byUser[s.User]
		if t == nil {
			t = &subject{name: s.User, dataset: s.Dataset, group: s.Group, fold: s.Fold, constant: s.Constant, rows: len(s.IDs)}
			if t.group == NewDataset {
				t.pool = t.fold // another pool for each fold
			}
			for _, n := range s.Choices {
				if n > 0 {
					t.chance += 1 / float64(n) / float64(t.rows)
				}
			}
			byUser[s.User] = t
			m.subjects = append(m.subjects, t)
		}
		if len(t.credits) == 0 || train[s.User] != s.Train {
			t.credits, train[s.User] = append(t.credits, nil), s.Train
		}
		credits := make([]float64, 0, t.rows*len(m.names))
		for row := range t.rows {
			for _, name := range m.names {
				credits = append(credits, credit(s, name, row))
			}
		}
		last := len(t.credits) - 1
		t.credits[last] = append(t.credits[last], credits)
	}
	for _, t := range m.subjects {
		t.settle(len(m.names))
	}
	fill(m.subjects, len(m.names), resamples, seed)
	return m
}

// groups says which subjects each group takes.
var groups = map[Group]func(*subject) bool{
	all:        func(*subject) bool { return true },
	LeftOut:    func(t *subject) bool { return t.group == NewDataset || t.group == NewSubject },
	Seen:       func(t *subject) bool { return t.group == Seen },
	NewSubject: func(t *subject) bool { return t.group == NewSubject },
	NewDataset: func(t *subject) bool { return t.group == NewDataset },
	Related:    func(t *subject) bool { return t.group == Related },
	Tuning:     func(t *subject) bool { return t.group == NewDataset && t.fold >= 1 && t.fold <= qa.TuneFolds },
	Reported:   func(t *subject) bool { return t.group == NewDataset && t.fold > qa.TuneFolds },
}

// each calls f for every group that has users, and for each of those without
// the users whose every question is one constant text, where that is fewer.
func (m *maker) each(f func(Group, []*subject)) {
	for _, g := range slices.Sorted(maps.Keys(groups)) {
		some := filter(m.subjects, groups[g])
		if len(some) == 0 {
			continue
		}
		f(g, some)
		if rest := filter(some, func(t *subject) bool { return !t.constant }); len(rest) > 0 && len(rest) < len(some) {
			f(g+varied, rest)
		}
	}
}

// varied ends the name of a group without constant questions.
const varied = "_varied"

// macros are the macro figures of every group.
func (m *maker) macros() map[Group]map[string]*Figure {
	out := map[Group]map[string]*Figure{}
	m.each(func(g Group, some []*subject) { out[g] = m.section(some, false).Macro })
	return out
}

// headline fills what is reported at one number of examples.
func (m *maker) headline(f *Figures) {
	f.Groups, f.ByDataset = map[Group]*Section{}, map[string]*Section{}
	f.ByUser, f.WorseUsers = map[string]*UserFigures{}, map[string]*Worse{}
	m.each(func(g Group, some []*subject) {
		section := m.section(some, true)
		if g == all {
			f.Section = *section
			return
		}
		f.Groups[g] = section
	})
	for _, set := range datasets(m.subjects) {
		f.ByDataset[set[0].dataset] = m.section(set, false)
	}
	for _, t := range m.subjects {
		f.ByUser[t.name] = m.user(t)
	}
	if base := slices.Index(m.names, "base"); base >= 0 {
		for s, name := range m.names {
			if s != base && name != chance && name != majority {
				f.WorseUsers[name] = m.worse(s, base)
			}
		}
	}
}

func filter(subjects []*subject, keep func(*subject) bool) []*subject {
	var out []*subject
	for _, t := range subjects {
		if keep(t) {
			out = append(out, t)
		}
	}
	return out
}

func (m *maker) section(subjects []*subject, differences bool) *Section {
	sets := datasets(subjects)
	sec := &Section{Users: len(subjects), Macro: map[string]*Figure{}}
	for _, t := range subjects {
		sec.Rows += t.rows
	}
	for _, set := range sets {
		sec.Datasets = append(sec.Datasets, set[0].dataset)
	}
	samples := bootstrap(sets, len(m.names), m.resamples, m.seed)
	if differences {
		sec.Differences = map[string]*Difference{}
		for _, pair := range comparisons(m.names) {
			a, b := slices.Index(m.names, pair[0]), slices.Index(m.names, pair[1])
			sec.Differences[pair[0]+"-"+pair[1]] = m.difference(sets, samples, a, b)
		}
	}
	for s, name := range m.names {
		low, high := interval(samples[s])
		sec.Macro[name] = &Figure{
			Accuracy: figure(macro(sets, func(t *subject) float64 { return t.mean[s] })),
			Low:      figure(low), High: figure(high), StdErr: figure(stat.StdDev(samples[s], nil)),
			AboveChance: figure(macro(sets, func(t *subject) float64 { return (t.mean[s] - t.chance) / (1 - t.chance) })),
			Users:       sec.Users, Rows: sec.Rows,
		}
	}
	return sec
}

func (m *maker) difference(sets [][]*subject, samples [][]float64, a, b int) *Difference {
	d := &Difference{Difference: figure(macro(sets, func(t *subject) float64 { return t.mean[a] - t.mean[b] }))}
	diffs := make([]float64, m.resamples)
	for i := range diffs {
		diffs[i] = samples[a][i] - samples[b][i]
	}
	low, high := interval(diffs)
	d.Low, d.High = figure(low), figure(high)
	binary := true
	for _, set := range sets {
		for _, t := range set {
			d.Users.add(t.mean[a] - t.mean[b])
			rows := t.tally(len(m.names), a, b)
			d.Rows.Wins, d.Rows.Losses, d.Rows.Ties = d.Rows.Wins+rows.Wins, d.Rows.Losses+rows.Losses, d.Rows.Ties+rows.Ties
			binary = binary && t.binary(len(m.names), a, b)
		}
	}
	d.WinRate = figure(d.Users.rate())
	if binary {
		p := significant(McNemar(d.Rows.Wins, d.Rows.Losses))
		d.P = &p
	}
	return d
}

func (m *maker) user(t *subject) *UserFigures {
	u := &UserFigures{Dataset: t.dataset, Group: t.group, Fold: t.fold, Rows: t.rows, Chance: figure(t.chance),
		Accuracy: map[string]float64{}, StdErr: map[string]float64{}}
	for s, name := range m.names {
		u.Accuracy[name] = figure(t.mean[s])
		if p := t.mean[s]; t.rows > 1 {
			u.StdErr[name] = figure(math.Sqrt(max(0, p*(1-p)) / float64(t.rows-1)))
		}
	}
	return u
}

func (m *maker) worse(s, base int) *Worse {
	w := &Worse{Significant: []string{}, Below: []string{}}
	for _, t := range m.subjects {
		if t.rows >= worseRows {
			w.Tested++
			if rows := t.tally(len(m.names), base, s); McNemar(rows.Wins, rows.Losses) < worseLevel {
				w.Significant = append(w.Significant, t.name)
			}
		}
		if t.mean[base]-t.mean[s] > worseMargin+1e-12 {
			w.Below = append(w.Below, t.name)
		}
	}
	return w
}

// figure rounds to six decimals, so that figures made on another processor,
// whose last bits may differ, are equal; 0 has no sign.
func figure(x float64) float64 { return round(x, 6) + 0 }

// significant rounds to six significant digits, as figure does for
// probabilities of any size.
func significant(x float64) float64 {
	if x == 0 {
		return 0
	}
	return round(x, 5-int(math.Floor(math.Log10(math.Abs(x)))))
}
