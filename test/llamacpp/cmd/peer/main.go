// Command peer races Crayon against llama.cpp and writes what it measured to
// bench/results. Its last line has the ratios: above 1, Crayon is faster.
//
// Exit status: 0 measured; 1 failed; 2 wrong use; 3 measured, but the ratios of
// a row went on differing between repeats.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
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
	rows := flag.String("rows", strings.Join(peer.Usual, ","), "rows to run, or all: "+strings.Join(names, ","))
	threads := flag.Int("threads", runtime.NumCPU(), "threads of both engines")
	repeats := flag.Int("repeats", 5, "repeats of a row, at least 5")
	out := flag.String("out", filepath.Join("..", "..", "bench", "results"), "folder for the result file")
	child := flag.Bool("child", false, "be one of the engines (the command starts itself so)")
	flag.Parse()
	if *child {
		// Ctrl-C reaches the whole process group; the parent ends its children.
		signal.Ignore(os.Interrupt)
		exit(peer.Child(os.Stdin, os.Stdout))
	}
	picked := strings.Split(*rows, ",")
	if *rows == "all" {
		picked = slices.Clone(names)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, *out, peer.Options{Rows: picked, Threads: *threads, Repeats: *repeats, Log: os.Stderr}))
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
	report, err := peer.Race(ctx, o)
	if err != nil {
		return err
	}
	path, err := report.Write(out)
	if err != nil {
		return err
	}
	p := report.Peaks
	fmt.Printf("int8 peak %.0f GOP/s, prefill reaches %.2f of it; read peak %.1f GB/s, decode reaches %.2f of it\n", p.Int8GOPS, p.PrefillShare, p.ReadGBs, p.DecodeShare)
	fmt.Println("written to", path)
	fmt.Println(report.Line())
	if !report.Steady() {
		return &fault.Error{Op: "measure", Err: fmt.Errorf("a row's ratios spread by more than 10 %% in every set of repeats"), Hint: "run again when the machine is quieter", Exit: fault.ExitVerify}
	}
	return nil
}
