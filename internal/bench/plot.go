package bench

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"crayon/internal/fault"
)

// Size of the picture.
const (
	plotWidth  = 9 * vg.Inch // for up to 9 strategies; each more adds half an inch
	plotHeight = 4.5 * vg.Inch
)

// Crayon colours, one a group in the order drawn.
var crayons = []color.Color{
	color.RGBA{R: 0x8c, G: 0x92, B: 0xac, A: 0xff},
	color.RGBA{R: 0xf2, G: 0x8e, B: 0x2b, A: 0xff},
	color.RGBA{R: 0x2a, G: 0x9d, B: 0x8f, A: 0xff},
	color.RGBA{R: 0xc4, G: 0x45, B: 0x69, A: 0xff},
	color.RGBA{R: 0x5b, G: 0x6e, B: 0xe1, A: 0xff},
	color.RGBA{R: 0x8a, G: 0x5a, B: 0x44, A: 0xff},
}

// bars are values with intervals: plotter's XYer and YErrorer.
type bars struct {
	at      float64 // x of the first
	figures []*Figure
}

func (b bars) Len() int                    { return len(b.figures) }
func (b bars) XY(i int) (float64, float64) { return b.at + float64(i), b.figures[i].Accuracy }
func (b bars) Value(i int) float64         { return b.figures[i].Accuracy }
func (b bars) YError(i int) (float64, float64) {
	f := b.figures[i]
	return max(0, f.Accuracy-f.Low), max(0, f.High-f.Accuracy)
}

// WritePlot draws macro accuracies with their intervals, a bar a strategy, for
// all users and, where there are such, those of new subjects, of new data sets,
// in a merged report of the folds tuned on and reported, and seen. format is
// "png" or "svg".
func (r *Report) WritePlot(w io.Writer, format string) error {
	fail := func(err error, hint string) error {
		return &fault.Error{Op: "draw benchmark plot", Err: err, Hint: hint}
	}
	if format != "png" && format != "svg" {
		return fail(fmt.Errorf("format %q", format), "use png or svg")
	}
	shown := r.columns(all, NewSubject, NewDataset, Seen)
	if len(r.Inputs) > 1 {
		shown = r.columns(all, NewSubject, NewDataset, Tuning, Reported, Seen)
	}
	shown = slices.DeleteFunc(shown, func(c column) bool { return c.name != shown[0].name && c.Users == r.Users }) // the same users again
	p := plot.New()
	p.Title.Text = fmt.Sprintf("Accuracy by strategy, k = %d, %d users, 95 %% intervals", r.Headline, r.Users)
	p.Y.Label.Text = "macro accuracy"
	p.Y.Min = 0
	step := 0.8 / float64(len(shown))
	names := r.Settings.Strategies
	if len(names) > len(drawn) {
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return !slices.Contains(drawn, n) })
	}
	across := plotWidth + vg.Length(max(0, len(names)-9))*vg.Inch/2
	for i, s := range shown {
		b := bars{at: (float64(i) - float64(len(shown)-1)/2) * step}
		for _, name := range names {
			f := s.Macro[name]
			if f == nil {
				return fail(errors.New("no figure of "+name), "run the benchmark again")
			}
			b.figures = append(b.figures, f)
		}
		width := across * 0.85 / vg.Length(len(b.figures)) * vg.Length(step)
		chart, err := plotter.NewBarChart(b, width)
		if err != nil {
			return fail(err, "")
		}
		chart.XMin = b.at
		chart.Color = crayons[i]
		chart.LineStyle.Width = 0
		whiskers, err := plotter.NewYErrorBars(b)
		if err != nil {
			return fail(err, "")
		}
		p.Add(chart, whiskers)
		p.Legend.Add(s.name, chart)
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
	p.Y.Max *= 1.15 // room for the legend
	out, err := p.WriterTo(across, plotHeight, format)
	if err != nil {
		return fail(err, "")
	}
	if _, err := out.WriteTo(w); err != nil {
		return fail(err, "")
	}
	return nil
}
