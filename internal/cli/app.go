package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"crayon/internal/accel"
	"crayon/internal/config"
	"crayon/internal/fault"
	"crayon/internal/paint"
	"crayon/internal/store"
)

// app is what all commands share: streams, global flags, settings.
type app struct {
	in       io.Reader
	out, err io.Writer
	signals  func() // gives Ctrl-C back to the system
	started  bool   // a command ran: errors before that are wrong use
	json     bool
	outFile  string

	args        []string
	accelerator accel.Accelerator // nil: this program has none

	cmd        *cobra.Command // the one that runs
	configFile string
	set        *config.Settings // once read
	adapter    string           // of run and serve
}

// finish reports a command's error and gives the exit status.
func (a *app) finish(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		a.tell(&fault.Error{Op: "interrupted", Hint: fault.Hint(err)})
		return fault.ExitFailed
	}
	var told *fault.Error
	if !a.started && !errors.As(err, &told) {
		err = usage(err, "crayon --help")
	}
	a.tell(err)
	return fault.Code(err)
}

// tell prints an error and what mends it.
func (a *app) tell(err error) {
	fmt.Fprintln(a.err, "crayon:", err)
	if hint := fault.Hint(err); hint != "" {
		fmt.Fprintln(a.err, "  try:", hint)
	}
}

// usage is an error of wrong use.
func usage(err error, hint string) error {
	return &fault.Error{Op: err.Error(), Hint: hint, Exit: fault.ExitUsage}
}

// emit gives out a command's result: with --json one JSON object alone, else
// what text writes (nil: it was written as it came). --out also gets the object.
func (a *app) emit(result any, text func(w io.Writer)) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(result); err != nil {
		return &fault.Error{Op: "write result", Err: err}
	}
	if a.outFile != "" {
		if err := store.WriteBytes(a.outFile, buf.Bytes()); err != nil {
			return err
		}
	}
	if !a.json {
		buf.Reset()
		if text != nil {
			text(&buf)
		}
	}
	if _, err := a.out.Write(buf.Bytes()); err != nil {
		return &fault.Error{Op: "write result", Err: err}
	}
	return nil
}

// text is where a command writes as it goes: standard output, or nowhere when
// that is for JSON.
func (a *app) text() io.Writer {
	if a.json {
		return io.Discard
	}
	return a.out
}

// style is how text on standard output is drawn.
func (a *app) style() paint.Style { return paint.For(a.out) }

// warn tells the user something that is no error.
func (a *app) warn(text string) {
	if text != "" {
		fmt.Fprintln(a.err, "crayon: warning:", text)
	}
}

// progress is a bar on standard error, where that is a terminal; else nothing
// is shown. Call the function it returns with each state, and done at the end.
func (a *app) progress() (show func(what string, done, total int), done func()) {
	if paint.For(a.err).Width == 0 {
		return func(string, int, int) {}, func() {}
	}
	var bar *progressbar.ProgressBar
	label, last := "", 0
	done = func() {
		if bar != nil {
			bar.Clear()
			bar = nil
		}
	}
	show = func(what string, n, total int) {
		if bar != nil && what != label && total == bar.GetMax() && n >= last {
			bar.Describe(what) // the same work, said anew
		} else if bar == nil || what != label {
			done()
			bar = progressbar.NewOptions(total, progressbar.OptionSetWriter(a.err), progressbar.OptionSetDescription(what),
				progressbar.OptionSetWidth(24), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
				progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true))
		}
		if total > 0 && total != bar.GetMax() {
			bar.ChangeMax(total)
		}
		label, last = what, n
		bar.Set(n)
	}
	return show, done
}

// nearest is a hint at the name that was likely meant, or the fallback.
func nearest(name string, names []string, prefix, fallback string) string {
	if n := store.Nearest(name, names); n != "" {
		return strings.TrimSpace(prefix + " " + n)
	}
	return fallback
}
