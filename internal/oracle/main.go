package oracle

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"crayon/internal/fault"
)

// Main is the main function of a program that makes a Report: it reads the
// flags, hears Ctrl-C, prints the error and then the closing line, and exits.
func Main(report func(ctx context.Context, w io.Writer, threads int) (last string, err error)) {
	threads := flag.Int("threads", 0, "worker threads; 0 is one a core")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	last, err := report(ctx, os.Stdout, *threads)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		if h := fault.Hint(err); h != "" {
			fmt.Fprintln(os.Stderr, "try:", h)
		}
	}
	if last != "" {
		fmt.Println(last)
	}
	os.Exit(fault.Code(err))
}
