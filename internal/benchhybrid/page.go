package benchhybrid

import (
	"fmt"
	"image/color"
	"io"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"crayon/internal/bench"
	"crayon/internal/fault"
)

// drawnRouters are the curves of the pictures, in the order of their colours.
var drawnRouters = []string{randomRouter, crayonRouter, learnedRouter, maxProbability, scopeAlone, taskMean, earlyRouter, draftRouter}

// panel is a section's curves.
func panel(title string, s *Section) bench.Panel {
	p := bench.Panel{Title: title}
	for _, name := range drawnRouters {
		l := bench.Line{Name: name}
		if y := s.Curves[name]; y != nil {
			l.X, l.Y = places, y
		}
		p.Lines = append(p.Lines, l)
	}
	return p
}

// WriteHTML writes the report as one page that needs nothing else.
func (r *Report) WriteHTML(w io.Writer) error {
	p := bench.Page{Title: "Device and server", Lead: r.lead(),
		Note:   "Intervals hold 95 % of a paired bootstrap over data sets, users and rows. Every probability is by a model that had not seen the row; under transfer, no row of its user's family either. Simulated servers are right by draw, whatever the query.",
		Footer: fmt.Sprintf("%s, %s, %s", r.Environment.Date, r.Environment.Machine, r.Environment.Commit), Notes: append(slices.Clone(r.Notes), r.Missing...)}
	t := r.tables()
	curves := []bench.Panel{panel("customised device", &r.Section), panel("bare device", r.Bare), panel("transfer", r.Transfer)}
	var sims []bench.Panel
	for _, s := range r.sections() {
		if r.Simulated[lastWord(s.name)] == s.Section {
			sims = append(sims, panel(s.name, s.Section))
		}
	}
	calibration := bench.Line{Name: "share right"}
	diagonal := bench.Line{Name: "as said", X: []float64{0, 1}, Y: []float64{0, 1}}
	for _, b := range r.Bins {
		calibration.X, calibration.Y = append(calibration.X, b[0]), append(calibration.Y, b[1])
	}
	p.Sections = []bench.PageSection{
		{Title: "To reach", Tables: t[:1]},
		{Title: "Accuracy by share sent", Note: "The largest gain is sent first.", Picture: bench.Chart("accuracy by share sent", "share sent", curves), Tables: t[1:2]},
		{Title: "Simulated servers", Picture: bench.Chart("accuracy by share sent, simulated servers", "share sent", sims)},
		{Title: "Calibration", Note: "Share right by the probability that the device is right, in 15 bins of equal mass.", Picture: bench.Chart("calibration", "probability", []bench.Panel{{Title: "customised device", Lines: []bench.Line{diagonal, calibration}}})},
		{Title: "Sections and parts", Tables: t[2:5]},
		{Title: "The server", Tables: t[5:7]},
		{Title: "Promises, time and cost", Tables: t[7:9]},
		{Title: "Data sets", Tables: t[9:]},
	}
	for i := range p.Sections {
		p.Sections[i].Tables = slices.DeleteFunc(slices.Clone(p.Sections[i].Tables), func(t table) bool { return len(t.Rows) == 0 })
	}
	for _, name := range sortedKeys(r.Digests) {
		p.Digests = append(p.Digests, [2]string{name, r.Digests[name]})
	}
	return p.Write(w)
}

// WritePlot draws the curves of the customised device; format is "png" or "svg".
func (r *Report) WritePlot(w io.Writer, format string) error {
	fail := func(err error, hint string) error {
		return &fault.Error{Op: "draw benchmark plot", Err: err, Hint: hint}
	}
	if format != "png" && format != "svg" {
		return fail(fmt.Errorf("format %q", format), "use png or svg")
	}
	p := plot.New()
	p.Title.Text = fmt.Sprintf("Accuracy by share sent, %d queries, %d users", r.Rows, r.Users)
	p.X.Label.Text, p.Y.Label.Text = "share sent to the server", "accuracy"
	for i, name := range drawnRouters {
		y := r.Curves[name]
		if y == nil {
			continue
		}
		points := make(plotter.XYs, len(y))
		for k := range y {
			points[k].X, points[k].Y = places[k], y[k]
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return fail(err, "")
		}
		line.Width, line.Color = vg.Points(2), color.Color(plotutil.Color(i))
		if name == randomRouter { // what the others are measured by
			line.Color, line.Dashes = color.Gray{128}, plotutil.Dashes(1)
		}
		p.Add(line)
		p.Legend.Add(name, line)
	}
	p.X.Max = 1.02 // room for the last label
	p.Legend.Left = true
	p.Legend.Top = true
	out, err := p.WriterTo(7*vg.Inch, 4.5*vg.Inch, format)
	if err != nil {
		return fail(err, "")
	}
	if _, err := out.WriteTo(w); err != nil {
		return fail(err, "")
	}
	return nil
}
