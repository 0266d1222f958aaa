// Command fetch gets llama.cpp's libraries into CRAYON_LLAMACPP, or into the
// user's cache, and prints the folder.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"crayon/internal/fault"
	"crayon/test/llamacpp/fetch"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := fetch.Libraries(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "fetch:", err)
		if h := fault.Hint(err); h != "" {
			fmt.Fprintln(os.Stderr, "try:", h)
		}
		os.Exit(fault.Code(err))
	}
	fmt.Println(dir)
}
