package bench

import (
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
	name string
	*Section
}

// columns returns the sections of groups that there are; "" is all users.
func (r *Report) columns(groups ...Group) []column {
	var out []column
	for _, g := range groups {
		if g == "" {
			out = append(out, column{"all", &r.Section})
		} else if s := r.Groups[g]; s != nil {
			name := string(g)
			if g == "varied" {
				name = "all_varied"
			}
			name = strings.ReplaceAll(name, "_varied", ", varied")
			out = append(out, column{strings.ReplaceAll(name, "_", " "), s})
		}
	}
	return out
}

func (r *Report) grids() []grid {
	core := r.columns("", LeftOut, Seen)
	more := slices.Concat(core, r.columns(NewDataset, NewSubject, Related, "varied", "left_out_varied", "seen_varied"))
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
		for _, pair := range comparisons {
			name := pair[0] + "-" + pair[1]
			if r.Differences[name] == nil {
				continue
			}
			row := []string{pair[0] + " - " + pair[1]}
			for _, c := range core {
				row = append(row, cell(c.Differences[name]))
			}
			g.cells = append(g.cells, row)
		}
		return g
	}
	return []grid{
		strategies("macro accuracy [95 % interval]", core, func(f *Figure) string {
			return fmt.Sprintf("%.3f [%.3f, %.3f]", f.Accuracy, f.Low, f.High)
		}),
		differences("difference of macro accuracies [95 % interval]", func(d *Difference) string {
			return fmt.Sprintf("%+.3f [%+.3f, %+.3f]", d.Difference, d.Low, d.High)
		}),
		differences("wins/losses/ties by user; by row", func(d *Difference) string {
			return d.Users.String() + "; " + d.Rows.String()
		}),
		strategies("macro accuracy by group; varied = without users whose every question is the same", more,
			func(f *Figure) string { return fmt.Sprintf("%.3f", f.Accuracy) }),
		strategies("(accuracy - chance) / (1 - chance)", more,
			func(f *Figure) string { return fmt.Sprintf("%.3f", f.AboveChance) }),
		r.datasetGrid(), r.worseGrid(),
	}
}

// head starts a table whose columns are sections, with their sizes.
func (r *Report) head(title, first string, cols []column) grid {
	head := []string{first}
	for _, c := range cols {
		head = append(head, fmt.Sprintf("%s (%s)", c.name, english.Plural(c.Users, "user", "")))
	}
	return grid{title: title, cells: [][]string{head}}
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
	s := fmt.Sprintf("k = %d examples, seed %d, %d resamples over data sets, users and rows; %s, %s",
		r.Settings.Shots, r.Settings.Seed, r.Settings.Resamples, r.Environment.Machine, r.Environment.Go)
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
