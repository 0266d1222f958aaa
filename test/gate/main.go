// Command gate counts what Crayon's work takes - allocations, products, bytes,
// tokens, dials - and exits with status 3 when a count is above that of
// bench/baseline.json. Nothing is timed, so that any machine can judge.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"crayon/internal/fault"
	"crayon/internal/kernel"
	"crayon/test/origin"
)

func main() {
	var g gate
	flag.StringVar(&g.path, "baseline", "bench/baseline.json", "file with the accepted counts")
	flag.BoolVar(&g.accept, "accept", false, "make the present counts the accepted ones")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	g.count = everything
	err := g.run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-gate:", err)
		if h := fault.Hint(err); h != "" {
			fmt.Fprintln(os.Stderr, "  try:", h)
		}
	}
	os.Exit(fault.Code(err))
}

// gate is one run.
type gate struct {
	path   string
	accept bool
	count  func(context.Context, io.Writer) (counts []Count, leftOut []string, err error)
}

func (g *gate) run(ctx context.Context, w io.Writer) error {
	b, err := read(g.path)
	if err != nil && !g.accept {
		return err
	}
	if b == nil {
		b = &Baseline{} // not readable, and about to be replaced
	}
	counts, leftOut, err := g.count(ctx, w)
	if err != nil {
		return err
	}
	all := compare(b, counts, leftOut)
	if err := table(w, all); err != nil {
		return err
	}
	if g.accept {
		return g.take(w, b, counts, leftOut)
	}
	better := pick(all, shrunk)
	for _, v := range better {
		fmt.Fprintf(w, "%v\n", v)
	}
	if len(better) > 0 {
		fmt.Fprintf(w, "better than the baseline of %s; to hold it: %s\n", b.Commit, accept)
	}
	bad := pick(all, grown, fresh, gone)
	fmt.Fprintf(w, "bench-gate: counts=%d grown=%d shrunk=%d new=%d gone=%d\n", len(counts),
		len(pick(all, grown)), len(better), len(pick(all, fresh)), len(pick(all, gone)))
	if len(bad) == 0 {
		return nil
	}
	var why strings.Builder
	fmt.Fprintf(&why, "%d counts are not the accepted ones", len(bad))
	for _, v := range bad {
		fmt.Fprintf(&why, "\n  %v", v)
	}
	return &fault.Error{Op: "compare with", Path: g.path, Err: errors.New(why.String()), Exit: fault.ExitVerify,
		Hint: accept + ", if it is meant; then commit the file with the change"}
}

// take writes the counts as the new baseline.
func (g *gate) take(w io.Writer, old *Baseline, counts []Count, leftOut []string) error {
	b := Baseline{
		Commit: origin.Commit(), Go: runtime.Version(), System: origin.ThisMachine().System,
		Kernel: kernel.Current().String(), Counts: old.with(counts, leftOut),
	}
	if err := b.write(g.path); err != nil {
		return err
	}
	fmt.Fprintf(w, "bench-gate: %d counts accepted in %s\n", len(b.Counts), g.path)
	return nil
}
