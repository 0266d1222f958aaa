// Package cli is the command line of Crayon, one file a verb: flags, a call of
// the library, what is printed. Program crayon is it alone; program crayon-cuda
// is it with an accelerator.
package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"crayon/internal/accel"
)

// Options are what programs differ in.
type Options struct {
	Accelerator accel.Accelerator // what --device cuda means; nil: to start the program that has one
}

// Main runs the command line of this process and returns the exit status.
func Main(o Options) int { return run(o, os.Args[1:], os.Stdin, os.Stdout, os.Stderr) }

// run is the whole program with its streams named; it returns the exit status.
func run(o Options, args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{in: in, out: out, err: errs, signals: stop, args: args, accelerator: o.Accelerator}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	return a.finish(ctx, root.ExecuteContext(ctx))
}
