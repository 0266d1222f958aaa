// Package view writes the library's results for a person at a terminal.
package view

import (
	"fmt"
	"io"
	"strings"

	"crayon"
	"crayon/internal/paint"
)

// barCells is the width of the strip that shows a blend.
const barCells = 40

// Blend writes a customisation's weights as crayons: a strip of colours, their
// mixture, and a line an adapter with what it covers.
func Blend(w io.Writer, s paint.Style, p *crayon.Pool, c *crayon.Customisation) {
	shares := crayon.Shares(p, c)
	var mix []paint.Share
	widest := 0
	for _, x := range shares {
		widest = max(widest, len(x.Adapter))
		if !x.Shared {
			mix = append(mix, paint.Share{Name: x.Adapter, Weight: x.Weight})
		}
	}
	fmt.Fprintf(w, "blend      %s\n", s.Bar(mix, barCells))
	for _, x := range shares {
		covers := strings.Join(x.Covers, ", ")
		if x.Shared {
			covers = "the same for everyone"
		}
		block := s.Block(paint.Crayon(x.Adapter), 2)
		if block != "" {
			block += " "
		}
		line := fmt.Sprintf("  %s%s  %6.3f  %s", block, paint.Pad(x.Adapter, widest), x.Weight, s.Dim(covers))
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	fmt.Fprintf(w, "kept       %d of %d adapters; the kept form is %.1f %% from the whole blend (Frobenius)\n", len(c.Kept), len(p.Blended()), 100*c.Residual)
}

// Made writes what a customisation was made from and how long it took.
func Made(w io.Writer, c *crayon.Customisation) {
	kind := "free answers"
	if len(c.Labels) > 0 {
		kind = fmt.Sprintf("%d labels: %s", len(c.Labels), strings.Join(c.Labels, ", "))
	} else if len(c.Examples) > 0 && len(c.Examples[0].Choices) > 0 {
		kind = "choices of their own"
	}
	fmt.Fprintf(w, "examples   %d, %s\n", len(c.Examples), kind)
	fmt.Fprintf(w, "time       %.3f s to customise, the model being open\n", c.Took)
}

// Proof writes the leave-one-out proof: each rival's wins, losses and ties, the
// interval, and what it comes to.
func Proof(w io.Writer, s paint.Style, p *crayon.Proof) {
	fmt.Fprintf(w, "proof      %s than base on %d of your own examples, each left out in turn (%.1f s)\n", verdict(s, p.Verdict), p.Rows, p.Seconds)
	fmt.Fprintf(w, "  %-7s %6.1f %%\n", "blend", 100*p.Accuracy["blend"])
	for _, c := range p.Against {
		line := fmt.Sprintf("  %-7s %6.1f %%   %2d won %2d lost %2d tied   %+5.1f points, 95 %% [%+.1f, %+.1f]   %s",
			c.Rival, 100*p.Accuracy[c.Rival], c.Wins, c.Losses, c.Ties, 100*(p.Accuracy["blend"]-p.Accuracy[c.Rival]), 100*c.Low, 100*c.High, verdict(s, c.Verdict))
		if c.Need > 0 {
			line += fmt.Sprintf("; about %d examples would decide", c.Need)
		}
		fmt.Fprintln(w, line)
	}
}

func verdict(s paint.Style, v string) string {
	switch v {
	case "better":
		return s.Good(v)
	case "worse":
		return s.Bad(v)
	}
	if v == "not shown" {
		return "not shown to be better"
	}
	return v
}

// Decision is a decision in one line.
func Decision(d crayon.Decision) string { return d.Short() }
