package paint

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPlainStyleHasNoEscapes(t *testing.T) {
	require.Equal(t, Style{}, For(&bytes.Buffer{}))
	s := Style{}
	bar := s.Bar([]Share{{"red", 0.75}, {"blue", 0.25}}, 8)
	require.Equal(t, "[rrrrrrbb] = "+Mix([]Share{{"red", 0.75}, {"blue", 0.25}}).Hex(), bar)
	require.NotContains(t, bar+s.Tick(true)+s.Dim("x")+s.Bold("y"), "\x1b")
}

func TestColours(t *testing.T) {
	s := Style{Colour: true}
	require.Contains(t, s.Bar([]Share{{"red", 1}}, 4), "\x1b[48;2;222;56;49m    \x1b[0m")
	require.Equal(t, Crayon("teal"), Crayon("teal-2"))
	require.NotEqual(t, Crayon("unheard-of"), Crayon("another"))
	require.Equal(t, Crayon("red"), Mix([]Share{{"red", 0.3}}), "a mixture of one colour is that colour")
	require.Equal(t, RGB{128, 128, 128}, Mix(nil))
}

func TestApportion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Float32Range(0, 1), 1, 12).Draw(t, "weights")
		cells := rapid.IntRange(0, 60).Draw(t, "cells")
		var shares []Share
		var sum float32
		for _, w := range weights {
			shares = append(shares, Share{"red", w})
			sum += w
		}
		total := 0
		for _, n := range apportion(shares, cells) {
			if n < 0 {
				t.Fatalf("%d cells", n)
			}
			total += n
		}
		if sum > 0 && total != cells {
			t.Fatalf("%d cells shared out, not %d", total, cells)
		}
	})
}

func TestWrap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-zé ]{0,80}`).Draw(t, "text")
		width := rapid.IntRange(1, 30).Draw(t, "width")
		lines := Wrap(text, width)
		for _, l := range lines {
			if utf8.RuneCountInString(l) > width {
				t.Fatalf("%q is wider than %d", l, width)
			}
		}
		squeeze := func(s string) string { return strings.Join(strings.Fields(s), "") }
		if squeeze(strings.Join(lines, "")) != squeeze(text) {
			t.Fatalf("%q became %q", text, lines)
		}
	})
	require.Equal(t, []string{"one two", "three"}, Wrap("one two three", 8))
}

func TestCutAndColumns(t *testing.T) {
	require.Equal(t, "abc", Cut("abc", 3))
	require.Equal(t, "ab…", Cut("abcd", 3))
	require.Equal(t, "a b", Cut("a\n b", 10))
	wide := Style{}.Columns(63, "base", "left", "mine", "right")
	require.Contains(t, wide, "left"+strings.Repeat(" ", 26)+" | right")
	require.Contains(t, Style{}.Columns(40, "base", "left", "mine", "right"), "mine\nright")
}
