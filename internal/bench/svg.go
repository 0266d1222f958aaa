package bench

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strings"
)

// picture is an SVG in the making; its colours are classes of the page.
type picture struct {
	strings.Builder
	width, height float64
}

func newPicture(width, height float64, label string) *picture {
	p := &picture{width: width, height: height}
	fmt.Fprintf(p, `<svg viewBox="0 0 %.0f %.0f" role="img" aria-label="%s" style="max-width:%.0fpx">`, width, height, html.EscapeString(label), width)
	return p
}

func (p *picture) done() template.HTML {
	p.WriteString("</svg>")
	return template.HTML(p.String()) //nolint // every text in it was escaped
}

func (p *picture) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(p, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, class, x1, y1, x2, y2)
}

func (p *picture) dot(class string, x, y, r float64, title string) {
	fmt.Fprintf(p, `<circle class="%s" cx="%.1f" cy="%.1f" r="%.1f"><title>%s</title></circle>`, class, x, y, r, html.EscapeString(title))
}

// text anchors at start, middle or end.
func (p *picture) text(class, anchor string, x, y float64, text string) {
	fmt.Fprintf(p, `<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`, class, anchor, x, y, html.EscapeString(text))
}

// scale maps values to places.
type scale struct{ low, high, from, to float64 }

func (s scale) at(x float64) float64 {
	return s.from + (x-s.low)/(s.high-s.low)*(s.to-s.from)
}

// ticks are round values within the scale, about n.
func (s scale) ticks(n int) []float64 {
	step := math.Pow10(int(math.Floor(math.Log10((s.high - s.low) / float64(n)))))
	for _, f := range []float64{1, 2, 5, 10} {
		if (s.high-s.low)/(step*f) <= float64(n) {
			step *= f
			break
		}
	}
	var out []float64
	for x := math.Ceil(s.low/step-1e-9) * step; x <= s.high+1e-9; x += step {
		out = append(out, x)
	}
	return out
}

func short2(x float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", x+0), "0"), ".")
}

// Sizes of the pictures.
const (
	panelWidth = 250.0
	rowHeight  = 20.0
	leftMargin = 175.0
)

// pointed is a value with an interval.
type pointed struct{ value, low, high float64 }

// forest draws one panel a column, a row a name, each value with its interval;
// zero draws a line at 0 and colours what is beside it.
func forest(label string, names, columns []string, value func(name, column int) (pointed, bool), zero bool) template.HTML {
	if len(names) == 0 || len(columns) == 0 {
		return ""
	}
	low, high := math.Inf(1), math.Inf(-1)
	for i := range names {
		for j := range columns {
			if v, ok := value(i, j); ok {
				low, high = min(low, v.low), max(high, v.high)
			}
		}
	}
	if zero {
		low, high = min(low, 0), max(high, 0)
	}
	room := (high - low) * 0.05
	low, high = low-max(room, 0.01), high+max(room, 0.01)
	const top, bottom, gap = 26.0, 26.0, 36.0
	height := top + rowHeight*float64(len(names)) + bottom
	p := newPicture(leftMargin+(panelWidth+gap)*float64(len(columns)), height, label)
	for j, column := range columns {
		x := leftMargin + (panelWidth+gap)*float64(j)
		s := scale{low, high, x, x + panelWidth}
		p.text("head", "middle", x+panelWidth/2, 14, column)
		for _, tick := range s.ticks(5) {
			p.line("grid", s.at(tick), top, s.at(tick), height-bottom)
			p.text("tick", "middle", s.at(tick), height-8, short2(tick))
		}
		if zero {
			p.line("axis", s.at(0), top, s.at(0), height-bottom)
		}
		for i, name := range names {
			y := top + rowHeight*(float64(i)+0.5)
			if j == 0 {
				p.text("name", "end", leftMargin-10, y+4, name)
			}
			v, ok := value(i, j)
			if !ok {
				continue
			}
			class := "c0"
			if zero && v.low > 0 {
				class = "good"
			} else if zero && v.high < 0 {
				class = "bad"
			}
			p.line("bar "+class, s.at(v.low), y, s.at(v.high), y)
			p.dot("dot "+class, s.at(v.value), y, 4, fmt.Sprintf("%s, %s: %.3f [%.3f, %.3f]", name, column, v.value, v.low, v.high))
		}
	}
	return p.done()
}

// groupPlot is the accuracy of every strategy by group.
func (r *Report) groupPlot() template.HTML {
	cols := r.columns(NewDataset, NewSubject, Seen)
	if len(cols) == 0 {
		cols = r.columns(all)
	}
	var titles []string
	for _, c := range cols {
		titles = append(titles, fmt.Sprintf("%s (%d users)", c.name, c.Users))
	}
	return forest("accuracy by strategy and group", r.Settings.Strategies, titles, func(i, j int) (pointed, bool) {
		f := cols[j].Macro[r.Settings.Strategies[i]]
		if f == nil {
			return pointed{}, false
		}
		return pointed{f.Accuracy, f.Low, f.High}, true
	}, false)
}

// differencePlot is every difference by group.
func (r *Report) differencePlot() template.HTML {
	cols := r.columns(NewDataset, NewSubject, Seen)
	if len(cols) == 0 {
		cols = r.columns(all)
	}
	pairs := comparisons(r.Settings.Strategies)
	var names, titles []string
	for _, p := range pairs {
		names = append(names, p[0]+" − "+p[1])
	}
	for _, c := range cols {
		titles = append(titles, c.name)
	}
	return forest("differences of accuracy", names, titles, func(i, j int) (pointed, bool) {
		d := cols[j].Differences[pairs[i][0]+"-"+pairs[i][1]]
		if d == nil {
			return pointed{}, false
		}
		return pointed{d.Difference, d.Low, d.High}, true
	}, true)
}

// userPlot has a dot a user: a strategy against the base model.
func (r *Report) userPlot(strategy string) template.HTML {
	if !slices.Contains(r.Settings.Strategies, strategy) || !slices.Contains(r.Settings.Strategies, base) {
		return ""
	}
	const size, left, bottom = 380.0, 46.0, 40.0
	p := newPicture(size+left+10, size+bottom+10, strategy+" against base, by user")
	x, y := scale{0, 1, left, left + size}, scale{0, 1, 5 + size, 5}
	for _, tick := range x.ticks(5) {
		p.line("grid", x.at(tick), y.at(0), x.at(tick), y.at(1))
		p.line("grid", x.at(0), y.at(tick), x.at(1), y.at(tick))
		p.text("tick", "middle", x.at(tick), y.at(0)+16, short2(tick))
		p.text("tick", "end", x.at(0)-6, y.at(tick)+4, short2(tick))
	}
	p.line("axis", x.at(0), y.at(0), x.at(1), y.at(1))
	p.text("name", "middle", x.at(0.5), y.at(0)+34, "base")
	fmt.Fprintf(p, `<text class="name" text-anchor="middle" transform="translate(12 %.1f) rotate(-90)">%s</text>`, y.at(0.5), html.EscapeString(strategy))
	for _, name := range sorted(r.ByUser) {
		u := r.ByUser[name]
		a, b := u.Accuracy[base], u.Accuracy[strategy]
		p.dot("dot "+groupClass(u.Group), x.at(a), y.at(b), 4.5, fmt.Sprintf("%s: base %.2f, %s %.2f", name, a, strategy, b))
	}
	return p.done()
}

func groupClass(g Group) string {
	switch g {
	case NewDataset:
		return "c1"
	case NewSubject:
		return "c2"
	case Seen:
		return "c3"
	}
	return "c0"
}

// curves are the strategies that the curves by number of examples show.
var curves = []string{base, single, "blend", "refine", "polish", "shots5", "stack", "chosen"}

// shotsPlot is accuracy by number of examples, a panel a group.
func (r *Report) shotsPlot() template.HTML {
	ks := r.shots()
	cols := r.columns(NewDataset, NewSubject, Seen)
	if len(cols) == 0 {
		cols = r.columns(all)
	}
	if len(ks) < 2 {
		return ""
	}
	var names []string
	for _, n := range curves {
		if slices.Contains(r.Settings.Strategies, n) {
			names = append(names, n)
		}
	}
	const height, top, bottom, gap = 260.0, 26.0, 44.0, 50.0
	p := newPicture(50+(panelWidth+gap)*float64(len(cols))+90, height, "accuracy by number of examples")
	for j, c := range cols {
		group := c.group
		low, high := 1.0, 0.0
		for _, k := range ks {
			for _, n := range names {
				if f := r.ByShots[k][group][n]; f != nil {
					low, high = min(low, f.Accuracy), max(high, f.Accuracy)
				}
			}
		}
		left := 44 + (panelWidth+gap)*float64(j)
		x := scale{0, float64(len(ks) - 1), left, left + panelWidth}
		y := scale{low - 0.02, high + 0.02, height - bottom, top}
		p.text("head", "middle", left+panelWidth/2, 14, c.name)
		for _, tick := range y.ticks(5) {
			p.line("grid", left, y.at(tick), left+panelWidth, y.at(tick))
			p.text("tick", "end", left-6, y.at(tick)+4, short2(tick))
		}
		for i, k := range ks {
			p.text("tick", "middle", x.at(float64(i)), height-bottom+16, k)
		}
		p.text("tick", "middle", left+panelWidth/2, height-8, "examples")
		for s, n := range names {
			var points []string
			for i, k := range ks {
				f := r.ByShots[k][group][n]
				if f == nil {
					continue
				}
				points = append(points, fmt.Sprintf("%.1f,%.1f", x.at(float64(i)), y.at(f.Accuracy)))
				p.dot(fmt.Sprintf("dot s%d", s), x.at(float64(i)), y.at(f.Accuracy), 3.5, fmt.Sprintf("%s, k = %s: %.3f [%.3f, %.3f]", n, k, f.Accuracy, f.Low, f.High))
			}
			fmt.Fprintf(p, `<polyline class="curve s%d" points="%s"/>`, s, strings.Join(points, " "))
		}
	}
	for s, n := range names {
		at := 44 + (panelWidth+gap)*float64(len(cols)) - 20
		y := top + 18*float64(s)
		p.line(fmt.Sprintf("curve s%d", s), at, y, at+18, y)
		p.text("name", "start", at+24, y+4, n)
	}
	return p.done()
}
