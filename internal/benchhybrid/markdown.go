package benchhybrid

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"crayon/internal/fault"
)

// WriteMarkdown writes, as Markdown tables, what was to be reached, the routers,
// and the sections: other devices, users and servers.
func (r *Report) WriteMarkdown(w io.Writer) error {
	routers, sections := r.routerTable(), r.sectionTable()
	// The accuracies and winnable shares are in the report and its page.
	routers = columns(routers, 0, 4, 5, 6, 7, 8, 11, 12)
	routers.Rows = slices.DeleteFunc(routers.Rows, func(row []string) bool { return row[0] == alwaysDevice || row[0] == alwaysServer })
	note := fmt.Sprintf(" Intervals: 95 %% of %d resamples of data sets, users and rows.", r.Settings.Resamples)
	if len(r.Simulated) > 0 {
		note += " SIMULATED servers are right by draw, whatever the query: they show how routing scales with a server's quality."
	}
	return r.markdown(w, note, r.targetTable(), routers, sections)
}

// WriteBrief writes, as a Markdown table, what the route is worth at a glance, and
// its area over that of random.
func (r *Report) WriteBrief(w io.Writer) error {
	note := fmt.Sprintf(" Area over random, 95 %% of %d resamples of data sets, users and rows: %s.", r.Settings.Resamples, interval(r.Area[crayonRouter]))
	return r.markdown(w, note, r.briefTable())
}

// WriteSides writes, as Markdown tables, how often device, bare device and server
// are right, and the forms in which the server was asked.
func (r *Report) WriteSides(w io.Writer) error {
	return r.markdown(w, "", r.sideTable(), r.modelTable(), r.setTable(), r.formTable())
}

func (r *Report) markdown(w io.Writer, note string, tables ...table) error {
	var b strings.Builder
	for _, t := range tables {
		if len(t.Rows) == 0 {
			continue
		}
		fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(t.Head, " | "), strings.Repeat("---|", len(t.Head)))
		for _, row := range t.Rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		}
		b.WriteString("\n")
	}
	b.WriteString(r.provenance() + note + "\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return &fault.Error{Op: "write report", Err: err}
	}
	return nil
}

// provenance says what the figures are of.
func (r *Report) provenance() string {
	day, _, _ := strings.Cut(r.Environment.Date, "T")
	parts := []string{fmt.Sprintf("%d queries of %d users, %.0f %% of other families", r.Rows, r.Users, 100*r.Strange), "server " + r.Model + ", asked as " + r.Asked}
	var digests []string
	for _, name := range sortedKeys(r.Digests) {
		if name == "raw" {
			continue
		}
		short, _, _ := strings.Cut(name, " ") // of "pool 8ce9a1c8c5d5 (seen)" the digest is told
		if d := fmt.Sprintf("%s %.12s", short, r.Digests[name]); !slices.Contains(digests, d) {
			digests = append(digests, d)
		}
	}
	if len(digests) > 0 {
		parts = append(parts, strings.Join(digests, ", "))
	}
	if raw := r.Digests["raw"]; raw != "" {
		parts = append(parts, fmt.Sprintf("rows %.12s", raw))
	}
	parts = append(parts, day)
	return strings.Join(parts, "; ") + "."
}
