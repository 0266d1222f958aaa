package oracle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"crayon/internal/store"
)

// Models the check knows, by alias; the first one must be there.
var Models = []string{"smollm2-135m", "qwen2.5-coder-0.5b"}

// ModelPath is the file of an alias: for smollm2-135m the one CRAYON_TEST_MODEL
// names, if set, else the one in the store under CRAYON_HOME.
func ModelPath(alias string) (string, error) {
	if p := os.Getenv("CRAYON_TEST_MODEL"); p != "" && alias == Models[0] {
		return p, nil
	}
	paths, err := store.Resolve(os.Getenv("CRAYON_HOME"))
	if err != nil {
		return "", err
	}
	return paths.Model(alias), nil
}

// Report checks the fast path on every model that is there, a line each for
// base and blend, and gives the closing line, which is about smollm2's
// base, or "" if that was not reached.
// before, if not nil, runs first on each opened model and may print its own lines.
// The error names every miss, after everything has run.
func Report(ctx context.Context, w io.Writer, threads int, before func(alias string, s *Subject) error) (last string, err error) {
	for i, alias := range Models {
		path, e := ModelPath(alias)
		if e != nil {
			return "", e
		}
		if _, e := os.Stat(path); os.IsNotExist(e) && i > 0 {
			fmt.Fprintf(w, "%s: not here, left out (crayon pull %s)\n", alias, alias)
			continue
		}
		f, e := report(ctx, w, threads, alias, path, before)
		if i == 0 && f.Base.Tokens > 0 {
			last = fmt.Sprintf("oracle: kl=%.4f top1=%.4f tokens=%d", f.Base.KL, f.Base.Top1, f.Base.Tokens)
		}
		err = errors.Join(err, e)
		if ctx.Err() != nil {
			break
		}
	}
	return last, err
}

func report(ctx context.Context, w io.Writer, threads int, alias, path string, before func(string, *Subject) error) (FastFigures, error) {
	s, err := OpenSubject(path, threads)
	if err != nil {
		return FastFigures{}, err
	}
	defer s.Close()
	var miss error
	if before != nil {
		miss = before(alias, s)
	}
	f, err := s.Fast(ctx)
	if err != nil {
		return f, err
	}
	fmt.Fprintf(w, "%s base: fast against float32: %v\n", alias, f.Base)
	fmt.Fprintf(w, "%s blend of rank %d, %.2f nats from base: fast against float32: %v\n", alias, blendAdapters*blendRank, f.BlendDivergence, f.Blend)
	if e := f.Base.Miss(MaxKL, MinTop1); e != nil {
		miss = errors.Join(miss, fmt.Errorf("%s base: %w", alias, e))
	}
	if e := f.Blend.Miss(MaxKL, MinTop1Blend); e != nil {
		miss = errors.Join(miss, fmt.Errorf("%s blend: %w", alias, e))
	}
	return f, miss
}
