package oracle

import (
	"context"
	"fmt"
	"math"

	"crayon/internal/fault"
	"crayon/internal/kernel"
	"crayon/internal/model"
)

// MaxDifference is how far the fast path's perplexity may be from the
// reference's, as a share of the latter.
const MaxDifference = 0.005

// LevelFigures are the fast path's figures at one kernel level.
type LevelFigures struct {
	Level      string  `json:"level"`
	Difference float64 `json:"difference"` // of the perplexity from the reference's, as a share of it
	Figures
}

// Perplexity compares the fast path with the reference on texts, at each of
// some kernel levels; the reference runs once, at the level in use. It leaves
// that level as it was, and must not run beside other passes. progress may be nil.
func (s *Subject) Perplexity(ctx context.Context, texts [][]int32, levels []kernel.Level, progress func(done int)) ([]LevelFigures, error) {
	was := kernel.Current()
	defer kernel.Use(was)
	engines := make([]Engine, len(levels))
	for i, l := range levels {
		// Opened at its level too: weights may be packed for it.
		if err := kernel.Use(l); err != nil {
			return nil, err
		}
		m, err := model.Open(s.Path, model.Options{Threads: s.Team.Threads()})
		if err != nil {
			return nil, err
		}
		defer m.Close()
		engines[i] = atLevel{Fast{Model: m}, l}
	}
	if err := kernel.Use(was); err != nil {
		return nil, err
	}
	all, err := compareAll(ctx, s.Reference(Blend{}), engines, texts, progress)
	if err != nil {
		return nil, err
	}
	out := make([]LevelFigures, len(all))
	for i, f := range all {
		out[i] = LevelFigures{levels[i].String(), f.Perplexity/f.ReferencePerplexity - 1, f}
	}
	return out, nil
}

// atLevel is an engine that runs at a kernel level of its own.
type atLevel struct {
	Engine
	level kernel.Level
}

// Logits implements Engine.
func (a atLevel) Logits(ctx context.Context, tokens []int32) ([][]float32, error) {
	was := kernel.Current()
	if err := kernel.Use(a.level); err != nil {
		return nil, err
	}
	defer kernel.Use(was)
	return a.Engine.Logits(ctx, tokens)
}

// Miss says why the perplexity is not good enough on at least tokens positions,
// or is nil.
func (f LevelFigures) Miss(tokens int) error {
	if math.Abs(f.Difference) <= MaxDifference && f.Tokens >= tokens {
		return nil
	}
	return &fault.Error{Op: "hold the perplexity at level", Path: f.Level, Exit: fault.ExitVerify,
		Err: fmt.Errorf("%+.3f %% from the reference's (within %g %%), %d tokens (at least %d)", 100*f.Difference, 100*MaxDifference, f.Tokens, tokens)}
}

// String is the figures on a line.
func (f LevelFigures) String() string {
	return fmt.Sprintf("%s: difference=%+.3f%% %v", f.Level, 100*f.Difference, f.Figures)
}
