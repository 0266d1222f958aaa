package paint

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Wrap breaks text into lines of at most width runes, at spaces where it can.
func Wrap(text string, width int) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		for utf8.RuneCountInString(line) > width {
			cut := breakAt(line, width)
			out = append(out, strings.TrimRightFunc(line[:cut], unicode.IsSpace))
			line = strings.TrimLeftFunc(line[cut:], unicode.IsSpace)
		}
		out = append(out, line)
	}
	return out
}

// breakAt is the byte after the last space within the first width runes, or
// after those runes when there is no space.
func breakAt(line string, width int) int {
	space, n := 0, 0
	for i, r := range line {
		if n > 0 && unicode.IsSpace(r) {
			space = i
		}
		if n == width {
			if space > 0 {
				return space
			}
			return i
		}
		n++
	}
	return len(line)
}

// Cut shortens text to one line of at most width runes.
func Cut(text string, width int) string {
	text = strings.Join(strings.Fields(text), " ")
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:max(0, width-1)]) + "…"
}

// Pad fills text with spaces to width runes.
func Pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// Columns puts two texts side by side under their titles; under 60 columns,
// one below the other.
func (s Style) Columns(width int, leftTitle, left, rightTitle, right string) string {
	var b strings.Builder
	if width < 60 {
		b.WriteString(s.Bold(leftTitle) + "\n" + left + "\n\n" + s.Bold(rightTitle) + "\n" + right + "\n")
		return b.String()
	}
	half := (width - 3) / 2
	l, r := Wrap(left, half), Wrap(right, half)
	b.WriteString(s.Bold(Pad(leftTitle, half)) + " | " + s.Bold(rightTitle) + "\n")
	for i := range max(len(l), len(r)) {
		var x, y string
		if i < len(l) {
			x = l[i]
		}
		if i < len(r) {
			y = r[i]
		}
		b.WriteString(strings.TrimRight(Pad(x, half)+" | "+y, " ") + "\n")
	}
	return b.String()
}
