package view

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"slices"
	"strings"

	xfont "golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"crayon/internal/fault"
	"crayon/internal/paint"
	"crayon/internal/pool"
)

// The picture's size and margins, in points.
const (
	mapWidth  = 640.0
	mapHeight = 460.0
	mapMargin = 46.0
	mapFoot   = 34.0 // for the caption
	mostDisc  = 19.0 // radius of the adapter with the most examples
	leastDisc = 5.0
	setDot    = 2.6
	subDot    = 1.2
)

// DrawMap draws a pool's coverage map: adapters as discs of their colour, sized
// by examples, data sets as named dots joined to the adapter most like them,
// subjects as small dots. path's extension, .svg or .png, names the format. The
// paper is white, so that it reads on a dark page too.
func DrawMap(m *pool.Map, name, path string) ([]byte, error) {
	format := strings.ToLower(strings.TrimPrefix(filepath.Ext(path), "."))
	if format != "svg" && format != "png" {
		return nil, &fault.Error{Op: "draw pool map", Path: path, Err: fmt.Errorf("no picture of the format %q is drawn", format), Hint: "give the picture a name that ends in .svg or .png", Exit: fault.ExitUsage}
	}
	c, err := draw.NewFormattedCanvas(vg.Points(mapWidth), vg.Points(mapHeight), format)
	if err != nil {
		return nil, &fault.Error{Op: "draw pool map", Path: path, Err: err}
	}
	p := picture{Canvas: draw.New(c)}
	p.draw(m, name)
	var buf bytes.Buffer
	if _, err := c.WriteTo(&buf); err != nil {
		return nil, &fault.Error{Op: "draw pool map", Path: path, Err: err}
	}
	return buf.Bytes(), nil
}

type picture struct{ draw.Canvas }

var (
	ink  = color.NRGBA{34, 34, 40, 255}
	pale = color.NRGBA{120, 120, 128, 255}
)

func (p *picture) draw(m *pool.Map, name string) {
	p.FillPolygon(color.White, []vg.Point{{}, {X: vg.Points(mapWidth)}, {X: vg.Points(mapWidth), Y: vg.Points(mapHeight)}, {Y: vg.Points(mapHeight)}})
	at, radius := layout(m)
	index := map[string]int{}
	for i, s := range m.Spots {
		if s.Kind == pool.AdapterSpot {
			index[s.Name] = i
		}
	}
	for i, s := range m.Spots { // lines under everything
		if j, ok := index[s.Nearest]; ok && s.Kind == pool.SetSpot {
			c := shade(s.Nearest, 110)
			p.StrokeLine2(draw.LineStyle{Color: c, Width: vg.Points(0.9)}, vg.Points(at[i].x), vg.Points(at[i].y), vg.Points(at[j].x), vg.Points(at[j].y))
		}
	}
	for _, kind := range []string{pool.SubjectSpot, pool.AdapterSpot, pool.SetSpot} {
		for i, s := range m.Spots {
			if s.Kind != kind {
				continue
			}
			fill := color.Color(ink)
			switch kind {
			case pool.AdapterSpot:
				fill = shade(s.Name, 225)
			case pool.SubjectSpot:
				fill = shade(s.Nearest, 170)
			}
			p.DrawGlyph(draw.GlyphStyle{Color: fill, Radius: vg.Points(radius[i]), Shape: draw.CircleGlyph{}}, vg.Point{X: vg.Points(at[i].x), Y: vg.Points(at[i].y)})
			if kind == pool.AdapterSpot {
				p.DrawGlyph(draw.GlyphStyle{Color: ink, Radius: vg.Points(radius[i]), Shape: draw.RingGlyph{}}, vg.Point{X: vg.Points(at[i].x), Y: vg.Points(at[i].y)})
			}
		}
	}
	p.labels(m, at, radius)
	caption := fmt.Sprintf("%s: adapters (discs, by training examples) and data sets (dots, joined to the adapter most like them; small: subjects); %.0f %% of the spread is along x, %.0f %% along y",
		name, 100*m.Explained[0], 100*m.Explained[1])
	p.FillText(p.style(8, pale, false), vg.Point{X: vg.Points(12), Y: vg.Points(12)}, caption)
}

// labels names adapters and data sets, each beside its spot and clear of the
// others; with too many adapters to name them all, as many as find room.
func (p *picture) labels(m *pool.Map, at []spot, radius []float64) {
	var want []label
	for i, s := range m.Spots {
		if s.Kind == pool.SubjectSpot {
			continue
		}
		style := p.labelStyle(s.Kind)
		want = append(want, label{of: i, text: s.Name, width: style.Width(s.Name).Points() + 2, height: style.Height("Mg").Points(), urgent: s.Kind == pool.AdapterSpot})
	}
	var solid []box // what a label should not hide
	for i, s := range m.Spots {
		if s.Kind != pool.SubjectSpot {
			solid = append(solid, box{at[i].x - radius[i], at[i].y - radius[i], at[i].x + radius[i], at[i].y + radius[i]})
		}
	}
	for _, l := range place(want, at, radius, solid, lines(m, at), box{4, mapFoot - 8, mapWidth - 4, mapHeight - 4}) {
		b := l.box // lines fade where a name stands
		p.FillPolygon(color.NRGBA{255, 255, 255, 190}, []vg.Point{corner(b.x0, b.y0), corner(b.x1, b.y0), corner(b.x1, b.y1), corner(b.x0, b.y1)})
		p.FillText(p.labelStyle(m.Spots[l.of].Kind), vg.Point{X: vg.Points(l.box.x0 + 1), Y: vg.Points(l.box.y0 + 2)}, l.text)
	}
}

func corner(x, y float64) vg.Point { return vg.Point{X: vg.Points(x), Y: vg.Points(y)} }

// lines are points along the lines that join data sets to their adapters.
func lines(m *pool.Map, at []spot) []spot {
	index := map[string]int{}
	for i, s := range m.Spots {
		if s.Kind == pool.AdapterSpot {
			index[s.Name] = i
		}
	}
	var out []spot
	for i, s := range m.Spots {
		if j, ok := index[s.Nearest]; ok && s.Kind == pool.SetSpot {
			n := math.Ceil(math.Hypot(at[i].x-at[j].x, at[i].y-at[j].y) / 6)
			for k := 1.0; k < n; k++ {
				out = append(out, spot{at[i].x + (at[j].x-at[i].x)*k/n, at[i].y + (at[j].y-at[i].y)*k/n})
			}
		}
	}
	return out
}

func (p *picture) labelStyle(kind string) text.Style {
	if kind == pool.AdapterSpot {
		return p.style(10, ink, true)
	}
	return p.style(8.5, ink, false)
}

func (p *picture) style(size float64, c color.Color, bold bool) text.Style {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: font.Length(size)}
	if bold {
		f.Weight = xfont.WeightBold
	}
	return text.Style{Font: f, Color: c, Handler: plot.DefaultTextHandler}
}

// shade is an adapter's colour, see-through at alpha.
func shade(adapter string, alpha uint8) color.NRGBA {
	c := paint.Crayon(adapter)
	return color.NRGBA{c.R, c.G, c.B, alpha}
}

// layout scales the spots to the paper, both axes alike, and gives each its radius.
func layout(m *pool.Map) (at []spot, radius []float64) {
	low, high := spot{math.Inf(1), math.Inf(1)}, spot{math.Inf(-1), math.Inf(-1)}
	most := 1
	for _, s := range m.Spots {
		low, high = spot{min(low.x, s.X), min(low.y, s.Y)}, spot{max(high.x, s.X), max(high.y, s.Y)}
		if s.Kind == pool.AdapterSpot {
			most = max(most, s.Size)
		}
	}
	width, height := mapWidth-2*mapMargin, mapHeight-2*mapMargin-mapFoot/2
	scale := 1.0
	if dx, dy := high.x-low.x, high.y-low.y; dx > 0 || dy > 0 {
		scale = min(width/max(dx, 1e-9), height/max(dy, 1e-9))
	}
	for _, s := range m.Spots {
		at = append(at, spot{
			mapWidth/2 + (s.X-(low.x+high.x)/2)*scale,
			mapFoot/2 + mapHeight/2 + (s.Y-(low.y+high.y)/2)*scale,
		})
		switch s.Kind {
		case pool.AdapterSpot:
			radius = append(radius, max(leastDisc, mostDisc*math.Sqrt(float64(s.Size)/float64(most))))
		case pool.SetSpot:
			radius = append(radius, setDot)
		default:
			radius = append(radius, subDot)
		}
	}
	return at, radius
}

type spot struct{ x, y float64 }

type box struct{ x0, y0, x1, y1 float64 }

// over is the area two boxes share.
func (b box) over(o box) float64 {
	w, h := min(b.x1, o.x1)-max(b.x0, o.x0), min(b.y1, o.y1)-max(b.y0, o.y0)
	if w <= 0 || h <= 0 {
		return 0
	}
	return w * h
}

func (b box) inside(o box) bool {
	return b.x0 >= o.x0 && b.y0 >= o.y0 && b.x1 <= o.x1 && b.y1 <= o.y1
}

// label is a name to be put beside a spot.
type label struct {
	of            int
	text          string
	width, height float64
	urgent        bool // placed first
	box           box
}

// around are the directions in which a label is tried, the best first.
var around = []spot{{1, 0}, {-1, 0}, {0, 1}, {0, -1}, {1, 1}, {-1, 1}, {1, -1}, {-1, -1}}

// place gives labels boxes that hide no other label, and as little as can be of
// what is solid and of the points of lines; one that has no room within the bounds is left out.
func place(want []label, at []spot, radius []float64, solid []box, lines []spot, bounds box) []label {
	want = slices.Clone(want)
	slices.SortStableFunc(want, func(a, b label) int {
		if a.urgent != b.urgent {
			if a.urgent {
				return -1
			}
			return 1
		}
		return 0
	})
	var out []label
	for _, l := range want {
		best := math.Inf(1)
		for ring, gap := range []float64{1.5, 5, 11, 18} {
			for rank, d := range around {
				r := radius[l.of] + gap
				if d.x != 0 && d.y != 0 {
					r *= math.Sqrt2 / 2
				}
				x := at[l.of].x + d.x*r + (d.x-1)/2*l.width
				y := at[l.of].y + d.y*r + (d.y-1)/2*l.height
				b := box{x, y, x + l.width, y + l.height}
				if !b.inside(bounds) || slices.ContainsFunc(out, func(o label) bool { return b.over(o.box) > 0 }) {
					continue
				}
				cost := float64(ring)*0.25 + float64(rank)*0.02
				for _, s := range solid {
					cost += 3 * b.over(s) / (l.width * l.height)
				}
				for _, q := range lines {
					if q.x >= b.x0 && q.x <= b.x1 && q.y >= b.y0 && q.y <= b.y1 {
						cost += 0.06
					}
				}
				if cost < best {
					best, l.box = cost, b
				}
			}
		}
		if !math.IsInf(best, 1) {
			out = append(out, l)
		}
	}
	return out
}
