package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"crayon/internal/fault"
)

// grid is a table before it is given a form: a head and rows of equal length.
type grid struct {
	title string
	cells [][]string
}

// sections returns the report's sections in the order they are shown.
func (r *Report) sections() (names []string, all []*Section) {
	names, all = []string{"all users"}, []*Section{&r.Section}
	for _, g := range []Group{LeftOut, NewDataset, NewSubject, Seen, Related} {
		if s := r.Groups[g]; s != nil {
			names = append(names, strings.ReplaceAll(string(g), "_", " "))
			all = append(all, s)
		}
		if s := r.Groups[g+"_varied"]; s != nil {
			names = append(names, strings.ReplaceAll(string(g), "_", " ")+", varied questions")
			all = append(all, s)
		}
	}
	if s := r.Groups["varied"]; s != nil {
		names = append(names, "all users, varied questions")
		all = append(all, s)
	}
	return names, all
}

func (r *Report) grids() []grid {
	var out []grid
	names, sections := r.sections()
	for i, sec := range sections {
		title := fmt.Sprintf("%s: %d users, %d rows", names[i], sec.Users, sec.Rows)
		g := grid{title: title, cells: [][]string{{"strategy", "accuracy", "95 % interval", "above chance"}}}
		for _, s := range r.Settings.Strategies {
			if f := sec.Macro[s]; f != nil {
				g.cells = append(g.cells, []string{s, decimal(f.Accuracy), bounds(f.Low, f.High), decimal(f.AboveChance)})
			}
		}
		out = append(out, g)
		d := grid{title: title + ", differences",
			cells: [][]string{{"difference", "macro", "95 % interval", "users +/-/=", "rows +/-/="}}}
		for _, pair := range comparisons {
			if x := sec.Differences[pair[0]+"-"+pair[1]]; x != nil {
				d.cells = append(d.cells, []string{pair[0] + " - " + pair[1], signed(x.Difference),
					"[" + signed(x.Low) + ", " + signed(x.High) + "]", x.Users.String(), x.Rows.String()})
			}
		}
		if len(d.cells) > 1 {
			out = append(out, d)
		}
	}
	return append(out, r.datasetGrid(), r.worseGrid())
}

func (r *Report) datasetGrid() grid {
	g := grid{title: "by data set", cells: [][]string{append([]string{"data set", "users", "rows"}, r.Settings.Strategies...)}}
	for _, name := range sorted(r.ByDataset) {
		sec := r.ByDataset[name]
		row := []string{name, fmt.Sprint(sec.Users), fmt.Sprint(sec.Rows)}
		for _, s := range r.Settings.Strategies {
			row = append(row, decimal(sec.Macro[s].Accuracy))
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

func decimal(x float64) string        { return fmt.Sprintf("%.3f", x) }
func signed(x float64) string         { return fmt.Sprintf("%+.3f", x) }
func bounds(low, high float64) string { return "[" + decimal(low) + ", " + decimal(high) + "]" }

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
