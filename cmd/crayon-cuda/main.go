//go:build linux && (amd64 || arm64)

// Command crayon-cuda is crayon with NVIDIA GPUs in the processor's place. Its
// command selftest holds the GPUs to the processor and says how fast they are.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"crayon/internal/cli"
	"crayon/internal/fault"
	"crayon/internal/train/cuda"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "selftest" {
		os.Exit(selftest(os.Args[2:]))
	}
	os.Exit(cli.Main(cli.Options{Accelerator: accelerator()}))
}

func selftest(args []string) int {
	var t cuda.SelfTest
	f := flag.NewFlagSet("crayon-cuda selftest", flag.ContinueOnError)
	f.StringVar(&t.Model, "model", "", "GGUF `file`; none: random weights in the shape of SmolLM2-135M")
	f.IntVar(&t.Devices, "devices", 1, "GPUs to use")
	f.IntVar(&t.Rounds, "rounds", 12, "steps timed of each size")
	f.BoolVar(&t.Quick, "quick", false, "do not compare the large model's step with the processor's")
	steps := f.String("steps", "8192,16384,32768", "tokens a step a GPU")
	if f.Parse(args) != nil {
		return fault.ExitUsage
	}
	for _, s := range strings.Split(*steps, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			fmt.Fprintln(os.Stderr, "crayon-cuda: --steps: not a number of tokens:", s)
			return fault.ExitUsage
		}
		t.Steps = append(t.Steps, n)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := t.Run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "crayon-cuda:", err)
		if hint := fault.Hint(err); hint != "" {
			fmt.Fprintln(os.Stderr, "  try:", hint)
		}
		return fault.Code(err)
	}
	return 0
}
