// Command oracle compares the engine that answers users with the float32
// reference, on every model that is here, and exits non-zero when it is further
// off than it may be. The check against llama.cpp is test/llamacpp/cmd/oracle,
// which runs this one too.
package main

import (
	"context"
	"io"

	"crayon/internal/oracle"
)

func main() {
	oracle.Main(func(ctx context.Context, w io.Writer, threads int) (string, error) {
		return oracle.Report(ctx, w, threads, nil)
	})
}
