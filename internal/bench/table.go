package bench

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize/english"

	"crayon/internal/fault"
)

// grid is a table before it is given a form: a head and rows of equal length.
type grid struct {
	title string
	cells [][]string
}

// column is a section under its name.
type column struct {
	name  string
	group Group
	*Section
}

// columns returns the sections of groups that there are.
func (r *Report) columns(groups ...Group) []column {
	var out []column
	for _, g := range groups {
		if s := r.group(g); s != nil {
			out = append(out, column{groupName(g), g, s})
		}
	}
	return out
}

// group is the section of a group, or nil.
func (r *Report) group(g Group) *Section {
	if g == all {
		return &r.Section
	}
	return r.Groups[g]
}

// groupName is a group in words.
func groupName(g Group) string {
	name, isVaried := strings.CutSuffix(string(g), varied)
	name = strings.ReplaceAll(name, "_", " ")
	if isVaried {
		name += ", varied"
	}
	return name
}

// Of the groups, those of the first tables and those of the long ones.
var (
	coreGroups = []Group{all, LeftOut, Seen}
	moreGroups = []Group{all, LeftOut, Seen, NewDataset, NewSubject, Related, Tuning, Reported, all + varied, LeftOut + varied, Seen + varied, NewDataset + varied, Reported + varied}
)

func (r *Report) grids() []grid {
	core, more := r.columns(coreGroups...), r.columns(moreGroups...)
	strategies := func(title string, cols []column, cell func(*Figure) string) grid {
		g := r.head(title, "strategy", cols)
		for _, s := range r.Settings.Strategies {
			row := []string{s}
			for _, c := range cols {
				row = append(row, cell(c.Macro[s]))
			}
			g.cells = append(g.cells, row)
		}
		return g
	}
	differences := func(title string, cell func(*Difference) string) grid {
		g := r.head(title, "difference", core)
		for _, pair := range comparisons(r.Settings.Strategies) {
			row := []string{pair[0] + " - " + pair[1]}
			for _, c := range core {
				row = append(row, cell(c.Differences[pair[0]+"-"+pair[1]]))
			}
			g.cells = append(g.cells, row)
		}
		return g
	}
	return []grid{
		strategies(fmt.Sprintf("macro accuracy [95 %% interval], k = %d", r.Headline), core, interval3),
		differences("difference of macro accuracies [95 % interval]", func(d *Difference) string {
			return fmt.Sprintf("%+.3f [%+.3f, %+.3f]", d.Difference, d.Low, d.High)
		}),
		differences("users: wins/losses/ties (win rate); rows: wins/losses/ties", func(d *Difference) string {
			return fmt.Sprintf("%s (%.2f); %s", d.Users, d.WinRate, d.Rows)
		}),
		r.measuresGrid(), r.cleanGrid(), r.foundGrid(),
		strategies("macro accuracy by group; varied = without users whose every question is the same", more,
			func(f *Figure) string { return fmt.Sprintf("%.3f", f.Accuracy) }),
		strategies("(accuracy - chance) / (1 - chance)", more,
			func(f *Figure) string { return fmt.Sprintf("%.3f", f.AboveChance) }),
		r.shotsGrid(), r.datasetGrid(), r.worseGrid(), r.saidGrid(), r.elsewhereGrid(), r.timingGrid(), r.chosenGrid(),
	}
}

func interval3(f *Figure) string { return fmt.Sprintf("%.3f [%.3f, %.3f]", f.Accuracy, f.Low, f.High) }

// head starts a table whose columns are sections, with their sizes.
func (r *Report) head(title, first string, cols []column) grid {
	head := []string{first}
	for _, c := range cols {
		head = append(head, fmt.Sprintf("%s (%s)", c.name, english.Plural(c.Users, "user", "")))
	}
	return grid{title: title, cells: [][]string{head}}
}

// shotsGrid is accuracy by number of examples; empty where there is one alone.
func (r *Report) shotsGrid() grid {
	g := grid{title: "macro accuracy by number of examples", cells: [][]string{{"strategy"}}}
	if len(r.ByShots) < 2 {
		return g
	}
	type cell struct {
		k     string
		group Group
	}
	var cells []cell
	for _, group := range coreGroups {
		if r.group(group) == nil || group == all && len(r.columns(coreGroups...)) > 1 {
			continue
		}
		for _, k := range r.shots() {
			cells = append(cells, cell{k, group})
			g.cells[0] = append(g.cells[0], fmt.Sprintf("%s, k = %s", groupName(group), k))
		}
	}
	for _, s := range r.Settings.Strategies {
		row := []string{s}
		for _, c := range cells {
			row = append(row, fmt.Sprintf("%.3f", r.ByShots[c.k][c.group][s].Accuracy))
		}
		g.cells = append(g.cells, row)
	}
	return g
}

// shots are the numbers of examples in ascending order.
func (r *Report) shots() []string {
	ks := sorted(r.ByShots)
	slices.SortFunc(ks, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return ks
}

func (r *Report) datasetGrid() grid {
	g := grid{title: "macro accuracy by data set", cells: [][]string{append([]string{"data set", "users", "rows"}, r.Settings.Strategies...)}}
	for _, name := range sorted(r.ByDataset) {
		sec := r.ByDataset[name]
		row := []string{name, fmt.Sprint(sec.Users), fmt.Sprint(sec.Rows)}
		for _, s := range r.Settings.Strategies {
			row = append(row, fmt.Sprintf("%.3f", sec.Macro[s].Accuracy))
		}
		g.cells = append(g.cells, row)
	}
	return g
}

func (r *Report) worseGrid() grid {
	g := grid{title: "users worse than base", cells: [][]string{{"strategy", "tested", "worse at 5 %", "below by over 0.05"}}}
	for _, s := range r.Settings.Strategies {
		if w := r.WorseUsers[s]; w != nil {
			g.cells = append(g.cells, []string{s, fmt.Sprint(w.Tested), fmt.Sprint(len(w.Significant)), fmt.Sprint(len(w.Below))})
		}
	}
	return g
}

// saidGrid is how often the greedy answer is exactly right.
func (r *Report) saidGrid() grid {
	g := grid{title: "as a user sees it: exact match of the greedy answer [95 % interval]", cells: [][]string{{"strategy"}}}
	var in []Group
	for _, group := range coreGroups {
		if r.Said[group] != nil {
			in = append(in, group)
			g.cells[0] = append(g.cells[0], groupName(group))
		}
	}
	for _, s := range r.Settings.Strategies {
		if len(in) == 0 || r.Said[in[0]][s] == nil {
			continue
		}
		row := []string{s}
		for _, group := range in {
			row = append(row, interval3(r.Said[group][s]))
		}
		g.cells = append(g.cells, row)
	}
	return g
}

func (r *Report) elsewhereGrid() grid {
	g := grid{title: "perplexity on plain chat", cells: [][]string{{"strategy", "users", "perplexity", "worst user's", "who"}}}
	for _, s := range r.Settings.Strategies {
		if e := r.Elsewhere[s]; e != nil {
			g.cells = append(g.cells, []string{s, fmt.Sprint(e.Users), fmt.Sprintf("%.2f", e.Perplexity), fmt.Sprintf("%.2f", e.Worst), e.Of})
		}
	}
	return g
}

func (r *Report) timingGrid() grid {
	g := grid{title: "cost", cells: [][]string{{"strategy", "ms a query", "tokens a query", "s to customise", "slowest"}}}
	for _, s := range r.Settings.Strategies {
		t := r.Timing[s]
		if t == nil || t.QueryTokens == 0 && t.Fits == 0 {
			continue
		}
		customise, slowest := "", ""
		if t.Fits > 0 {
			customise, slowest = fmt.Sprintf("%.2f", t.Customise), fmt.Sprintf("%.2f", t.SlowestFit)
		}
		g.cells = append(g.cells, []string{s, fmt.Sprintf("%.1f", t.Milliseconds), fmt.Sprintf("%.0f", t.Tokens), customise, slowest})
	}
	return g
}

// chosenGrid is how often each strategy was selected.
func (r *Report) chosenGrid() grid {
	g := grid{title: "what was chosen, users times draws", cells: [][]string{{"by", "selected"}}}
	for _, by := range sorted(r.ChosenByUser) {
		count := map[string]int{}
		for _, picked := range r.ChosenByUser[by] {
			for name, n := range picked {
				count[name] += n
			}
		}
		var parts []string
		for _, name := range inOrder(sorted(count)) {
			parts = append(parts, fmt.Sprintf("%s %d", name, count[name]))
		}
		g.cells = append(g.cells, []string{by, strings.Join(parts, ", ")})
	}
	return g
}

// String gives wins/losses/ties.
func (t Tally) String() string { return fmt.Sprintf("%d/%d/%d", t.Wins, t.Losses, t.Ties) }

// WriteText writes the report as tables for a terminal.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, g := range r.grids() {
		if len(g.cells) < 2 {
			continue
		}
		fmt.Fprintln(&b, g.title)
		tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		for _, row := range g.cells {
			fmt.Fprintln(tw, "  "+strings.Join(row, "\t"))
		}
		tw.Flush() // into memory: cannot fail
		fmt.Fprintln(&b)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(&b, "note: "+n)
	}
	fmt.Fprintln(&b, r.footer())
	return write(w, b.String())
}

// WriteMarkdown writes the report as Markdown tables.
func (r *Report) WriteMarkdown(w io.Writer) error {
	var b strings.Builder
	for _, g := range r.grids() {
		if len(g.cells) < 2 {
			continue
		}
		fmt.Fprintf(&b, "**%s**\n\n", g.title)
		for i, row := range g.cells {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				fmt.Fprintf(&b, "|---|%s\n", strings.Repeat("---:|", len(row)-1))
			}
		}
		fmt.Fprintln(&b)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(&b, "- "+n)
	}
	fmt.Fprintf(&b, "\n%s\n", r.footer())
	return write(w, b.String())
}

func (r *Report) footer() string {
	s := fmt.Sprintf("k = %d examples in %s, seed %d, %d resamples over data sets, users, draws and rows; %s, %s",
		r.Headline, english.Plural(r.Draws, "draw", ""), r.Settings.Seed, r.Settings.Resamples, r.Environment.Machine, r.Environment.Go)
	if r.Environment.Device != "" {
		s += ", scored on " + r.Environment.Device
	}
	if r.Environment.Commit != "" {
		s += ", commit " + r.Environment.Commit
	}
	return s
}

func write(w io.Writer, s string) error {
	if _, err := io.WriteString(w, s); err != nil {
		return &fault.Error{Op: "write report", Err: err}
	}
	return nil
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
