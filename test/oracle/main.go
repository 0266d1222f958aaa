// Command oracle compares the engine that answers users with the float32
// reference, on every model that is here, and exits non-zero when it is further
// off than it may be. The check against llama.cpp is test/llamacpp/cmd/oracle,
// which runs this one too.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"crayon/internal/fault"
	"crayon/internal/oracle"
)

func main() {
	threads := flag.Int("threads", 0, "worker threads; 0 is one a core")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	last, err := oracle.Report(ctx, os.Stdout, *threads, nil)
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
