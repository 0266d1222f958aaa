// Command peer races Crayon against llama.cpp and writes what it measured to
// bench/results. Its last line has the ratios: above 1, Crayon is faster. The
// last, blend_cost, is the share of decoding speed that a customisation costs.
//
// Exit status: 0 measured; 1 failed; 2 wrong use or a model that is not here;
// 3 measured, but the ratios of a row went on differing between repeats.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"crayon/internal/fault"
	"crayon/test/llamacpp/fetch"
	"crayon/test/llamacpp/peer"
)

func main() {
	runtime.LockOSThread() // the child processes are tied to this thread
	var names []string
	for _, r := range peer.Rows {
		names = append(names, r.Name)
	}
	names = append(names, peer.FootprintName)
	root := filepath.Join("..", "..")
	rows := flag.String("rows", "", "rows to run, all of them if empty: "+strings.Join(names, ","))
	threads := flag.Int("threads", runtime.NumCPU(), "threads of both engines")
	repeats := flag.Int("repeats", 5, "repeats of a row, at least 5")
	out := flag.String("out", filepath.Join(root, "bench", "results"), "folder for the result file")
	crayon := flag.String("crayon", filepath.Join(root, "bin", "crayon"), "the program, whose start is timed")
	examples := flag.String("examples", filepath.Join(root, "examples"), "folder of example files, which are customised from")
	child := flag.Bool("child", false, "be one of the engines (the command starts itself so)")
	flag.Parse()
	if *child {
		// Ctrl-C reaches the whole process group; the parent ends its children.
		signal.Ignore(os.Interrupt)
		exit(peer.Child(os.Stdin, os.Stdout))
	}
	var picked []string
	if *rows != "" {
		picked = strings.Split(*rows, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, *out, peer.Options{Rows: picked, Threads: *threads, Repeats: *repeats, Crayon: *crayon, Examples: *examples, Log: os.Stderr}))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		if h := fault.Hint(err); h != "" {
			fmt.Fprintln(os.Stderr, "try:", h)
		}
	}
	os.Exit(fault.Code(err))
}

func run(ctx context.Context, out string, o peer.Options) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o.Command = []string{self, "-child"}
	if o.Library, err = fetch.Libraries(ctx); err != nil {
		return err
	}
	report, stopped := peer.Race(ctx, o)
	if report == nil {
		return stopped
	}
	path, err := report.Write(out)
	if err != nil {
		return errors.Join(stopped, err)
	}
	fmt.Print(report.Shares())
	fmt.Println("written to", path)
	fmt.Println(report.Line())
	if stopped != nil {
		return stopped
	}
	if rows := report.Unsteady(); len(rows) > 0 {
		all := errors.New("the ratios of a row spread by more than 10 % in every set of repeats")
		for _, m := range rows {
			all = errors.Join(all, fmt.Errorf("%v: %.3f", m, m.Ratios))
		}
		return &fault.Error{Op: "measure", Err: all, Hint: "run again when the machine is quieter", Exit: fault.ExitVerify}
	}
	return nil
}
