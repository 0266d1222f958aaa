// Package paint writes for the terminal: crayon colours for the adapters of a
// blend, marks and dim text, or the same in plain characters.
package paint

import (
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
	"strings"

	"golang.org/x/term"
)

// Style is how text is drawn. The zero value is plain text.
type Style struct {
	Colour bool // 24-bit ANSI colours
	Width  int  // columns of the terminal; 0 when there is none
}

// For is the style for a writer: colours only for a terminal that is not dumb,
// and never with NO_COLOR set (no-color.org).
func For(w io.Writer) Style {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return Style{}
	}
	s := Style{Width: 80, Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
		s.Width = width
	}
	return s
}

// RGB is a colour, each part 0 to 255.
type RGB struct{ R, G, B uint8 }

// crayons are the colours whose names a pool's adapters may have.
var crayons = map[string]RGB{
	"red": {222, 56, 49}, "orange": {245, 130, 32}, "yellow": {250, 204, 21}, "green": {52, 168, 83},
	"teal": {20, 160, 150}, "blue": {46, 112, 222}, "violet": {135, 80, 200}, "pink": {240, 110, 170},
	"brown": {139, 90, 43}, "grey": {140, 140, 140}, "olive": {128, 128, 40}, "navy": {36, 52, 120},
	"coral": {255, 127, 96}, "mint": {130, 215, 170}, "plum": {142, 69, 133}, "sand": {215, 190, 140},
	"shared": {90, 90, 90},
}

// Crayon is the colour of an adapter: that of its name, also in "teal-2", else
// a hue drawn from the name.
func Crayon(name string) RGB {
	stem, _, _ := strings.Cut(name, "-")
	if c, ok := crayons[stem]; ok {
		return c
	}
	h := fnv.New32a()
	io.WriteString(h, name)
	return hue(float64(h.Sum32()%360) / 360)
}

// hue is a full, mid-bright colour at a place 0..1 of the colour circle.
func hue(h float64) RGB {
	part := func(shift float64) uint8 {
		x := math.Cos(2*math.Pi*(h-shift))*0.5 + 0.5
		return uint8(50 + 180*x)
	}
	return RGB{part(0), part(1.0 / 3), part(2.0 / 3)}
}

// Share is one colour's part of a mixture.
type Share struct {
	Name   string
	Weight float32
}

// Mix is the colour of a mixture, by weight, mixed in linear light. Weights
// below zero take nothing.
func Mix(shares []Share) RGB {
	var sum, r, g, b float64
	for _, s := range shares {
		w := math.Max(0, float64(s.Weight))
		c := Crayon(s.Name)
		sum += w
		r, g, b = r+w*linear(c.R), g+w*linear(c.G), b+w*linear(c.B)
	}
	if sum == 0 {
		return RGB{128, 128, 128}
	}
	return RGB{display(r / sum), display(g / sum), display(b / sum)}
}

func linear(v uint8) float64  { return math.Pow(float64(v)/255, 2.2) }
func display(v float64) uint8 { return uint8(math.Round(255 * math.Pow(v, 1/2.2))) }
func (c RGB) back() string    { return fmt.Sprintf("\x1b[48;2;%d;%d;%dm", c.R, c.G, c.B) }
func (c RGB) fore() string    { return fmt.Sprintf("\x1b[38;2;%d;%d;%dm", c.R, c.G, c.B) }
func (c RGB) Hex() string     { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }
func (s Style) ansi(on, text string) string {
	if !s.Colour || text == "" {
		return text
	}
	return on + text + "\x1b[0m"
}

// Block is n cells of a colour; without colours, nothing.
func (s Style) Block(c RGB, n int) string {
	if !s.Colour || n <= 0 {
		return ""
	}
	return s.ansi(c.back(), strings.Repeat(" ", n))
}

// In is text in a colour.
func (s Style) In(c RGB, text string) string { return s.ansi(c.fore(), text) }

// Dim, Bold, Good and Bad are text so drawn.
func (s Style) Dim(text string) string  { return s.ansi("\x1b[2m", text) }
func (s Style) Bold(text string) string { return s.ansi("\x1b[1m", text) }
func (s Style) Good(text string) string { return s.ansi("\x1b[32m", text) }
func (s Style) Bad(text string) string  { return s.ansi("\x1b[31m", text) }

// Tick marks a right answer, or a cross a wrong one.
func (s Style) Tick(right bool) string {
	if right {
		return s.Good("✓")
	}
	return s.Bad("✗")
}

// Bar shows a mixture: a strip whose cells are shared out by weight, and beside
// it the mixed colour. Without colours the strip is of initials.
func (s Style) Bar(shares []Share, cells int) string {
	var b strings.Builder
	for i, n := range apportion(shares, cells) {
		if s.Colour {
			b.WriteString(s.Block(Crayon(shares[i].Name), n))
		} else if n > 0 {
			b.WriteString(strings.Repeat(shares[i].Name[:1], n))
		}
	}
	mixed := Mix(shares)
	if s.Colour {
		return b.String() + " = " + s.Block(mixed, 6) + " " + mixed.Hex()
	}
	return "[" + b.String() + "] = " + mixed.Hex()
}

// apportion shares cells out by weight, the largest remainders rounded up.
func apportion(shares []Share, cells int) []int {
	out := make([]int, len(shares))
	rest := make([]float64, len(shares))
	var sum float64
	for _, s := range shares {
		sum += math.Max(0, float64(s.Weight))
	}
	if sum == 0 {
		return out
	}
	left := cells
	for i, s := range shares {
		x := float64(cells) * math.Max(0, float64(s.Weight)) / sum
		out[i] = int(x)
		rest[i] = x - float64(out[i])
		left -= out[i]
	}
	for ; left > 0; left-- {
		best := 0
		for i := range rest {
			if rest[i] > rest[best] {
				best = i
			}
		}
		out[best]++
		rest[best] = -1
	}
	return out
}

// Heat is text on a ground that reddens from 0 to 1; without colours, the text.
func (s Style) Heat(x float64, text string) string {
	x = math.Max(0, math.Min(1, x))
	cold, hot := RGB{232, 236, 240}, RGB{214, 48, 39}
	part := func(a, b uint8) uint8 { return uint8(math.Round(float64(a) + x*(float64(b)-float64(a)))) }
	ground := RGB{part(cold.R, hot.R), part(cold.G, hot.G), part(cold.B, hot.B)}
	ink := RGB{20, 20, 24}
	if x > 0.6 {
		ink = RGB{255, 255, 255}
	}
	return s.ansi(ground.back()+ink.fore(), text)
}
