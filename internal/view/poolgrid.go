package view

import (
	"fmt"
	"io"
	"math"
	"strings"

	"crayon/internal/paint"
	"crayon/internal/pool"
)

// The character grid of MapText.
const (
	gridWidth  = 72
	gridHeight = 22
)

// MapText draws a pool's coverage map in characters: ● an adapter in its
// colour, · a data set, each with its name where there is room.
func MapText(w io.Writer, s paint.Style, m *pool.Map) {
	if len(m.Spots) == 0 {
		return
	}
	width := gridWidth
	if s.Width > 0 {
		width = max(40, min(gridWidth+28, s.Width-4))
	}
	at := gridPlaces(m, width)
	cells := make([][]string, gridHeight)
	for y := range cells {
		cells[y] = make([]string, width)
	}
	var want []label
	var solid []box
	named := 0
	for _, kind := range []string{pool.SetSpot, pool.AdapterSpot} { // adapters over data sets
		for i, x := range m.Spots {
			if x.Kind != kind {
				continue
			}
			mark := "·"
			if kind == pool.AdapterSpot {
				mark = "●"
			}
			cells[int(at[i].y)][int(at[i].x)] = s.In(paint.Crayon(colourOf(x)), mark)
			named++
			solid = append(solid, box{at[i].x, at[i].y, at[i].x + 1, at[i].y + 1})
			want = append(want, label{of: i, text: x.Name, width: float64(len([]rune(x.Name))), height: 1, urgent: kind == pool.AdapterSpot})
		}
	}
	left := 0
	for _, l := range placeInCells(want, at, solid, width) {
		if l.box.x1 == 0 {
			left++
			continue
		}
		x := m.Spots[l.of]
		for k, r := range []rune(l.text) {
			c := string(r)
			if x.Kind == pool.AdapterSpot {
				c = s.Bold(s.In(paint.Crayon(x.Name), c))
			} else {
				c = s.Dim(c)
			}
			cells[int(l.box.y0)][int(l.box.x0)+k] = c
		}
	}
	for _, row := range cells {
		var b strings.Builder
		blank := 0
		for _, c := range row {
			if c == "" {
				blank++
				continue
			}
			b.WriteString(strings.Repeat(" ", blank) + c)
			blank = 0
		}
		fmt.Fprintln(w, strings.TrimRight("  "+b.String(), " "))
	}
	note := ""
	if left > 0 {
		note = fmt.Sprintf("; %d of %d names had no room", left, named)
	}
	fmt.Fprintf(w, "  ● adapter  · data set   %.0f %% of the spread across, %.0f %% up%s\n", 100*m.Explained[0], 100*m.Explained[1], note)
}

// colourOf names the adapter whose colour a spot has.
func colourOf(s pool.Spot) string {
	if s.Kind == pool.AdapterSpot {
		return s.Name
	}
	return s.Nearest
}

// gridPlaces are the spots' cells, the first row at the top.
func gridPlaces(m *pool.Map, width int) []spot {
	low, high := spot{math.Inf(1), math.Inf(1)}, spot{math.Inf(-1), math.Inf(-1)}
	for _, s := range m.Spots {
		if s.Kind != pool.SubjectSpot {
			low, high = spot{min(low.x, s.X), min(low.y, s.Y)}, spot{max(high.x, s.X), max(high.y, s.Y)}
		}
	}
	// A margin at the sides, so that names fit.
	cell := func(v, low, high float64, n, margin int) float64 {
		if high <= low {
			return float64(n / 2)
		}
		return float64(margin) + math.Round((v-low)/(high-low)*float64(n-1-2*margin))
	}
	at := make([]spot, len(m.Spots))
	for i, s := range m.Spots {
		if s.Kind != pool.SubjectSpot {
			at[i] = spot{cell(s.X, low.x, high.x, width, 6), float64(gridHeight-1) - cell(s.Y, low.y, high.y, gridHeight, 1)}
		}
	}
	return at
}

// placeInCells is place on a grid of characters: a name stands right or left of
// its mark, else in the row above or below; one without room has an empty box.
func placeInCells(want []label, at []spot, solid []box, width int) []label {
	var urgent, rest []label
	for _, l := range want {
		if l.urgent {
			urgent = append(urgent, l)
		} else {
			rest = append(rest, l)
		}
	}
	taken := append([]box{}, solid...)
	bounds := box{0, 0, float64(width), gridHeight}
	all := append(urgent, rest...)
	for i := range all {
		l := &all[i]
		a := at[l.of]
		for _, from := range []spot{{a.x + 2, a.y}, {a.x - 1 - l.width, a.y}, {a.x - math.Floor(l.width/2), a.y - 1}, {a.x - math.Floor(l.width/2), a.y + 1}} {
			b := box{from.x, from.y, from.x + l.width, from.y + 1}
			room := box{b.x0 - 1, b.y0, b.x1 + 1, b.y1} // a blank between words
			free := b.inside(bounds)
			for _, o := range taken {
				if o != (box{a.x, a.y, a.x + 1, a.y + 1}) && room.over(o) > 0 || b.over(o) > 0 {
					free = false
				}
			}
			if free {
				l.box = b
				taken = append(taken, b)
				break
			}
		}
	}
	return all
}
