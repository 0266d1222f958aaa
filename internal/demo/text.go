package demo

import (
	"fmt"
	"io"
	"strings"

	"crayon"
	"crayon/internal/paint"
	"crayon/internal/view"
)

// Text is a Watcher that writes the scoreboard as it comes about.
type Text struct {
	Out      io.Writer
	Style    paint.Style
	Pool     *crayon.Pool
	Progress func(what string, done, total int) // may be nil
}

// Working passes progress on.
func (t *Text) Working(what string, done, total int) {
	if t.Progress != nil {
		t.Progress(what, done, total)
	}
}

// Customised writes the blend.
func (t *Text) Customised(u *User) {
	fmt.Fprintf(t.Out, "\n%s\n", t.Style.Bold("== "+u.Name+" "+strings.Repeat("=", max(0, 70-len(u.Name)))))
	view.Made(t.Out, u.Customisation)
	view.Blend(t.Out, t.Style, t.Pool, u.Customisation)
}

// Answered writes a line an unseen question, then the score.
func (t *Text) Answered(u *User) {
	questions := 46
	if t.Style.Width > 100 {
		questions = min(90, t.Style.Width-54)
	}
	fmt.Fprintf(t.Out, "\nunseen questions; marks: base, customised, swapped (same labels and prompt, the weights of %s)\n", u.SwappedWith)
	for _, r := range u.Rows {
		given := r.Customised
		if r.Customised != r.Right {
			given += t.Style.Dim("  (right: " + r.Right + ")")
		}
		fmt.Fprintf(t.Out, "  %s %s %s  %s  %s\n", t.Style.Tick(r.Base == r.Right), t.Style.Tick(r.Customised == r.Right), t.Style.Tick(r.Swapped == r.Right),
			paint.Pad(paint.Cut(r.Question, questions), questions), given)
	}
	s := u.Score
	fmt.Fprintf(t.Out, "%s  (%.1f s for all three)\n", t.Style.Bold(fmt.Sprintf("base %d/%d, customised %d/%d, swapped %d/%d", s.Base, s.Rows, s.Customised, s.Rows, s.Swapped, s.Rows)), u.Answering)
}

// Proved writes the proof.
func (t *Text) Proved(u *User) {
	fmt.Fprintln(t.Out)
	view.Proof(t.Out, t.Style, u.Proof)
}

// Routed writes where each query went and why.
func (t *Text) Routed(r *Routing) {
	fmt.Fprintf(t.Out, "\n%s\n", t.Style.Bold("== device or server "+strings.Repeat("=", 52)))
	fmt.Fprintln(t.Out, "as it would be with a server set, at the shipped thresholds; nothing was sent")
	list := func(title string, rows []Routed, want crayon.Side, n int) {
		fmt.Fprintf(t.Out, "%s: %d of %d to the %s\n", title, n, len(rows), want)
		for _, x := range rows {
			fmt.Fprintf(t.Out, "  %s %s  %s: %s\n", t.Style.Tick(x.Decision.Route == want), paint.Pad(paint.Cut(x.Query, 46), 46), x.Asked, t.Style.Dim(x.Decision.Short()))
		}
	}
	list("in scope", r.In, crayon.OnDevice, r.InDevice)
	list("out of scope, asked of the customisation they are most like", r.Out, crayon.OnServer, r.OutServer)
}

// Finish writes the totals and, as the last line, what to type next.
func (t *Text) Finish(r *Report) {
	fmt.Fprintf(t.Out, "\n%s\n", t.Style.Bold("== scoreboard "+strings.Repeat("=", 58)))
	for _, u := range r.Users {
		s := u.Score
		fmt.Fprintf(t.Out, "%-16s base %2d/%d, customised %2d/%d, swapped %2d/%d; customised in %.3f s\n", u.Name, s.Base, s.Rows, s.Customised, s.Rows, s.Swapped, s.Rows, u.Customise)
	}
	fmt.Fprintf(t.Out, "routing          in scope %d/%d to the device, out of scope %d/%d to the server\n", r.Routing.InDevice, len(r.Routing.In), r.Routing.OutServer, len(r.Routing.Out))
	fmt.Fprintf(t.Out, "measured now, on this machine: %s, pool %s, %d threads, %.1f s\n\n", r.Model, r.Pool, r.Threads, r.Seconds)
	fmt.Fprintln(t.Out, "your own: bin/crayon customize --template > mine.csv, edit it, then")
	fmt.Fprintln(t.Out, "bin/crayon customize mine -f mine.csv && bin/crayon run mine")
}
