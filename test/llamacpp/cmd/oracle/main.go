// Command oracle holds the engine to its references, in two steps: llama.cpp on
// the model written out as F32 against Crayon's float32 reference, so that the
// reference is right; then Crayon's fast path against that reference. It exits
// non-zero when either is further off than it may be.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"crayon/internal/oracle"
	"crayon/test/llamacpp/fetch"
	"crayon/test/llamacpp/llama"
	"crayon/test/llamacpp/retype"
)

// maxKL is the bar for the reference, in nats: both sides compute in float32
// and differ only in the order of their sums.
const maxKL = 1e-5

func main() { oracle.Main(run) }

func run(ctx context.Context, w io.Writer, threads int) (string, error) {
	dir, err := fetch.Libraries(ctx)
	if err != nil {
		return "", err
	}
	lib, err := llama.Open(dir)
	if err != nil {
		return "", err
	}
	return oracle.Report(ctx, w, threads, func(alias string, s *oracle.Subject) error {
		f, err := reference(ctx, lib, s)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s base: llama.cpp %s on F32 against float32: kl=%.3g max_kl=%.3g top1=%.4f tokens=%d\n", alias, lib.Version(), f.KL, f.MaxKL, f.Top1, f.Tokens)
		if e := f.Miss(maxKL, 0); e != nil {
			return fmt.Errorf("the float32 reference against llama.cpp: %w", e)
		}
		return nil
	})
}

// reference compares the subject's float32 reference with llama.cpp on the same
// weights in F32.
func reference(ctx context.Context, lib *llama.Library, s *oracle.Subject) (oracle.Figures, error) {
	dir, err := os.MkdirTemp("", "crayon-oracle-*")
	if err != nil {
		return oracle.Figures{}, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "f32.gguf")
	if err := retype.Float32(s.Path, path); err != nil {
		return oracle.Figures{}, err
	}
	m, err := lib.Load(path)
	if err != nil {
		return oracle.Figures{}, err
	}
	defer m.Close()
	longest := 0
	for _, t := range s.Texts {
		longest = max(longest, len(t))
	}
	c, err := m.NewContext(llama.ContextOptions{Tokens: longest, Threads: s.Team.Threads(), Exact: true})
	if err != nil {
		return oracle.Figures{}, err
	}
	defer c.Close()
	return oracle.Compare(ctx, s.Reference(oracle.Blend{}), peer{c}, s.Texts)
}

// peer is llama.cpp as an engine of the check.
type peer struct{ c *llama.Context }

// Logits implements oracle.Engine.
func (p peer) Logits(ctx context.Context, tokens []int32) ([][]float32, error) {
	rows := make([][]float32, 0, len(tokens))
	err := p.c.Score(tokens, func(_ int, logits []float32) error {
		rows = append(rows, slices.Clone(logits))
		return ctx.Err()
	})
	return rows, err
}
