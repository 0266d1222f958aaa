package view

import (
	"fmt"
	"io"
	"math"
	"strings"

	"crayon"
	"crayon/internal/paint"
)

// Change is one adapter's weight before and after.
type Change struct {
	Adapter string  `json:"adapter"`
	Was     float32 `json:"was"`
	Is      float32 `json:"is"`
}

// Changes are the weights that run, before and after, in the pool's order;
// adapters that run in neither are left out.
func Changes(p *crayon.Pool, was, is *crayon.Customisation) []Change {
	weight := func(c *crayon.Customisation) map[string]float32 {
		w := map[string]float32{}
		for _, k := range c.Kept {
			w[k.Adapter] = k.Weight
		}
		for _, m := range p.Members {
			if m.Shared {
				w[m.Name] = c.Shared
			}
		}
		return w
	}
	a, b := weight(was), weight(is)
	var out []Change
	for _, m := range p.Members {
		if a[m.Name] != 0 || b[m.Name] != 0 {
			out = append(out, Change{m.Name, a[m.Name], b[m.Name]})
		}
	}
	return out
}

// ChangeText writes what became of each weight, and what each adapter covers.
func ChangeText(w io.Writer, s paint.Style, p *crayon.Pool, changes []Change) {
	covers := map[string]string{}
	widest := 0
	for _, m := range p.Members {
		covers[m.Name] = strings.Join(m.Covers, ", ")
		if m.Shared {
			covers[m.Name] = "the same for everyone"
		}
	}
	for _, c := range changes {
		widest = max(widest, len(c.Adapter))
	}
	fmt.Fprintln(w, "weights    before, after")
	for _, c := range changes {
		block := s.Block(paint.Crayon(c.Adapter), 2)
		if block != "" {
			block += " "
		}
		by := "      ="
		if d := float64(c.Is - c.Was); math.Abs(d) >= 0.0005 {
			by = fmt.Sprintf("%+7.3f", d)
		}
		fmt.Fprintf(w, "  %s%s  %6.3f -> %6.3f  %s  %s\n", block, paint.Pad(c.Adapter, widest), c.Was, c.Is, by, s.Dim(covers[c.Adapter]))
	}
}
