// Command oracle compares the engine that answers users with the float32
// reference, on every model that is here, and exits non-zero when it is further
// off than it may be. With -perplexity it compares their perplexities on the
// text of a data folder, and keeps the result. The check against llama.cpp is
// test/llamacpp/cmd/oracle, which runs the first one too.
package main

import (
	"context"
	"flag"
	"io"
	"os"

	"crayon/internal/oracle"
)

func main() {
	var p perplexity
	on := flag.Bool("perplexity", false, "compare perplexities on the text of a data folder")
	flag.StringVar(&p.data, "data", os.Getenv("CRAYON_DATA"), "folder of question-answer data, else that of CRAYON_DATA (with -perplexity)")
	flag.StringVar(&p.model, "model", oracle.Models[0], "alias of the model (with -perplexity)")
	flag.StringVar(&p.levels, "levels", "", "kernel levels, separated by commas, or all; else the best (with -perplexity)")
	flag.IntVar(&p.tokens, "tokens", 20_000, "least number of tokens (with -perplexity)")
	flag.Uint64Var(&p.seed, "seed", 1, "draws the rows (with -perplexity)")
	flag.StringVar(&p.out, "out", "bench/results", "folder for the result (with -perplexity)")
	oracle.Main(func(ctx context.Context, w io.Writer, threads int) (string, error) {
		if *on {
			return p.run(ctx, w, threads)
		}
		return oracle.Report(ctx, w, threads, nil)
	})
}
