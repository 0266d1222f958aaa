// Package view writes the library's results for a person at a terminal.
package view

import (
	"cmp"
	"fmt"
	"io"
	"math"
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

// Plan writes how a customisation answers, why so, and what else was considered.
func Plan(w io.Writer, c *crayon.Customisation) {
	p := c.Plan
	if p == nil {
		fmt.Fprintf(w, "strategy   %s\n", c.Strategy)
		return
	}
	line := p.Strategy + ": " + crayon.AboutStrategy(p.Strategy)
	if p.Why != "" {
		line += " (" + p.Why + ")"
	}
	fmt.Fprintf(w, "strategy   %s\n", line)
	if p.Private != nil || p.File != "" {
		fmt.Fprintf(w, "  private adapter %.12s\n", p.File)
	}
	if p.Logit != nil {
		for _, t := range p.Logit.Terms {
			if math.Abs(t.Beta) >= 0.05 {
				fmt.Fprintf(w, "  %-18s %+6.2f\n", t.Feature, t.Beta)
			}
		}
	}
	for _, r := range p.Rated {
		fmt.Fprintf(w, "  %-12s %5.1f %% right   %+.3f against %s, expected %+.3f ± %.3f\n", r.Strategy, 100*r.Accuracy, r.Observed, p.Rated[0].Strategy, r.Posterior, r.Deviation)
	}
}

// Prompts writes what a question costs in prompt tokens, and what it would with
// examples in the prompt.
func Prompts(w io.Writer, c *crayon.Customisation) {
	p := c.Prompts
	if p == nil || p.Tokens == 0 {
		return
	}
	line := fmt.Sprintf("%.0f tokens a question", p.Tokens)
	own := true // one prompt without examples: the same question, and nothing else
	if p.Asks != 1 {
		line, own = fmt.Sprintf("asks %.3g prompts, %s", p.Asks, line), false
	}
	if c.Plan != nil && c.Plan.Shots > 0 {
		line, own = line+", worked examples in it", false
	}
	for i, x := range p.InPrompt {
		number := fmt.Sprint(x.Examples)
		if x.All && x.Examples > 1 {
			number = "all " + number
		}
		switch {
		case i > 0:
			line += ", with " + number
		case own:
			line += "; with " + number + examplesOf(x.Examples) + " in it"
		default:
			line += "; the base model with " + number + examplesOf(x.Examples)
		}
		line += fmt.Sprintf(" %.0f (%.1f times)", x.Tokens, x.Tokens/p.Tokens)
	}
	fmt.Fprintf(w, "prompt     %s\n", line)
}

func examplesOf(n int) string {
	if n == 1 {
		return " example"
	}
	return " examples"
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

// From writes which server blended the adapter, if one did.
func From(w io.Writer, c *crayon.Customisation) {
	r := c.Remote
	if r == nil {
		return
	}
	fmt.Fprintf(w, "adapter    blended by %s of the pool %.12s (sha256 %.12s); it is here now\n", r.URL, c.Pool, r.File)
}

// Proof writes the leave-one-out proof: each rival's wins, losses and ties, the
// interval, and what it comes to.
func Proof(w io.Writer, s paint.Style, p *crayon.Proof) {
	own, how := cmp.Or(p.Strategy, "blend"), "each left out in turn"
	if p.Folds > 0 {
		how = fmt.Sprintf("left out in %d parts", p.Folds)
	}
	fmt.Fprintf(w, "proof      %s than base on %d of your own examples, %s (%.1f s)\n", verdict(s, p.Verdict), p.Rows, how, p.Seconds)
	fmt.Fprintf(w, "  %-7s %6.1f %%\n", own, 100*p.Accuracy[own])
	for _, c := range p.Against {
		line := fmt.Sprintf("  %-7s %6.1f %%   %2d won %2d lost %2d tied   %+5.1f points, 95 %% [%+.1f, %+.1f]   %s",
			c.Rival, 100*p.Accuracy[c.Rival], c.Wins, c.Losses, c.Ties, 100*(p.Accuracy[own]-p.Accuracy[c.Rival]), 100*c.Low, 100*c.High, verdict(s, c.Verdict))
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
