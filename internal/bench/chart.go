package bench

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// Line is a curve of a chart.
type Line struct {
	Name string
	X, Y []float64
}

// Panel is one picture of a chart. Lines of one place have one colour in all
// panels, so a panel may have empty ones.
type Panel struct {
	Title string
	Lines []Line
}

// Chart draws panels of curves over 0 to 1 on x, with one scale of y.
func Chart(label, across string, panels []Panel) template.HTML {
	low, high := math.Inf(1), math.Inf(-1)
	for _, panel := range panels {
		for _, l := range panel.Lines {
			for _, y := range l.Y {
				low, high = min(low, y), max(high, y)
			}
		}
	}
	if !(low <= high) {
		return ""
	}
	const width, height, top, bottom, gap, legend = 300.0, 290.0, 26.0, 44.0, 50.0, 140.0
	p := newPicture(44+(width+gap)*float64(len(panels))+legend, height, label)
	for j, panel := range panels {
		left := 44 + (width+gap)*float64(j)
		x, y := scale{0, 1, left, left + width}, scale{low - 0.01, high + 0.01, height - bottom, top}
		p.text("head", "middle", left+width/2, 14, panel.Title)
		for _, tick := range y.ticks(5) {
			p.line("grid", left, y.at(tick), left+width, y.at(tick))
			p.text("tick", "end", left-6, y.at(tick)+4, short2(tick))
		}
		for _, tick := range x.ticks(5) {
			p.text("tick", "middle", x.at(tick), height-bottom+16, short2(tick))
		}
		p.text("tick", "middle", left+width/2, height-8, across)
		for s, l := range panel.Lines {
			var points []string
			for i := range l.X {
				points = append(points, fmt.Sprintf("%.1f,%.1f", x.at(l.X[i]), y.at(l.Y[i])))
			}
			if len(points) == 1 {
				p.dot(fmt.Sprintf("dot s%d", s%seriesColours), x.at(l.X[0]), y.at(l.Y[0]), 4, fmt.Sprintf("%s: %.3f", l.Name, l.Y[0]))
			} else if len(points) > 1 {
				fmt.Fprintf(p, `<polyline class="curve s%d" points="%s"/>`, s%seriesColours, strings.Join(points, " "))
			}
		}
	}
	if len(panels) > 0 {
		at := 44 + (width+gap)*float64(len(panels)) - 20
		for s, l := range panels[0].Lines {
			y := top + 18*float64(s)
			p.line(fmt.Sprintf("curve s%d", s%seriesColours), at, y, at+18, y)
			p.text("name", "start", at+24, y+4, l.Name)
		}
	}
	return p.done()
}
