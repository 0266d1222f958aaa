package bench

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"

	"crayon/internal/fault"
)

//go:embed report.html
var pageText string

//go:embed parts.html
var partsText string

// parts are what pages share: style, script, table.
var parts = template.Must(template.New("parts").Parse(partsText))

var page = template.Must(template.Must(parts.Clone()).New("report").Parse(pageText))

// WriteHTML writes the report as one page that needs nothing else: plots as
// SVG, tables that sort, light and dark.
func (r *Report) WriteHTML(w io.Writer) error {
	product := "blend"
	if slices.Contains(r.Settings.Strategies, "chosen") {
		product = "chosen"
	}
	v := view{Report: r, Lead: r.lead(), Footer: r.footer(), Product: product,
		Groups: r.groupPlot(), Differences: r.differencePlot(), Curves: r.shotsPlot(), Scatter: r.userPlot(product),
		Worst: r.worst(product)}
	for i := range curves {
		v.Series = append(v.Series, i)
	}
	for _, g := range r.grids() {
		if len(g.cells) > 1 {
			v.Tables = append(v.Tables, PageTable{g.title, g.cells[0], g.cells[1:]})
		}
	}
	for _, name := range sorted(r.Digests) {
		v.Digests = append(v.Digests, [2]string{name, r.Digests[name]})
	}
	for _, in := range r.Inputs {
		v.Digests = append(v.Digests, [2]string{"pool of " + in.File + " (" + strings.Join(in.Datasets, ", ") + ")", in.Digests["pool"]})
	}
	if err := page.Execute(w, v); err != nil {
		return &fault.Error{Op: "write report", Err: err}
	}
	return nil
}

// view is what the page shows.
type view struct {
	*Report
	Lead, Footer, Product                string
	Groups, Differences, Curves, Scatter template.HTML
	Tables                               []PageTable
	Worst                                PageTable
	Digests                              [][2]string
	Series                               []int // of curves
}

// lead is what the run was, in a sentence.
func (r *Report) lead() string {
	return fmt.Sprintf("%s of %s, %s; %d examples a user, %s of them.",
		english.Plural(r.Users, "user", ""), english.Plural(len(r.Datasets), "data set", ""), english.Plural(r.Rows, "scored question", ""),
		r.Headline, english.Plural(r.Draws, "draw", ""))
}

// worstUsers is how many users the page lists.
const worstUsers = 20

// worst are the users for whom a strategy does least against the base model.
func (r *Report) worst(strategy string) PageTable {
	t := PageTable{Title: "users for whom " + strategy + " does least", Head: []string{"user", "group", "rows", "base", strategy, "difference", "significant"}}
	if !slices.Contains(r.Settings.Strategies, base) || !slices.Contains(r.Settings.Strategies, strategy) {
		return t
	}
	names := sorted(r.ByUser)
	gain := func(name string) float64 { u := r.ByUser[name]; return u.Accuracy[strategy] - u.Accuracy[base] }
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(gain(a), gain(b)) })
	for _, name := range names[:min(worstUsers, len(names))] {
		u := r.ByUser[name]
		significant := ""
		if w := r.WorseUsers[strategy]; w != nil && slices.Contains(w.Significant, name) {
			significant = "worse at 5 %"
		}
		t.Rows = append(t.Rows, []string{name, groupName(u.Group), fmt.Sprint(u.Rows), fmt.Sprintf("%.3f", u.Accuracy[base]),
			fmt.Sprintf("%.3f", u.Accuracy[strategy]), fmt.Sprintf("%+.3f", gain(name)), significant})
	}
	return t
}
