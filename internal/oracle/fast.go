package oracle

import (
	"context"
	"fmt"
	"math"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
	"crayon/internal/model"
	"crayon/internal/reference"
	"crayon/internal/tokenizer"
)

// The bar for the fast path, whose activations are 8-bit by block of 32. The
// simulation of that alone on the base model gave 0.0030 and 0.972. A random
// blend flattens the distributions, so that near ties for the first place are
// more common.
const (
	MaxKL        = 0.006 // nats, base and blend
	MinTop1      = 0.96  // base
	MinTop1Blend = 0.94
)

// The blend of the check, and how far it must be from the base model to matter.
const (
	blendAdapters = 4
	blendRank     = 16 // each, so 64 rows
	blendSeed     = 1
	blendLeast    = 0.1 // nats, KL(blend || base)
	blendMost     = 1.0
)

// Subject is a model file opened for the check.
type Subject struct {
	Path      string
	File      *gguf.File
	Config    arch.Config
	Tokenizer *tokenizer.Tokenizer
	Weights   *reference.Weights
	Team      *kernel.Team
	Texts     [][]int32
}

// OpenSubject dequantises the model at path and prepares the texts. threads 0
// means one a core. The caller must Close it.
func OpenSubject(path string, threads int) (*Subject, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	s := &Subject{Path: path, File: f}
	if err := s.prepare(); err != nil {
		f.Close()
		return nil, err
	}
	s.Team = kernel.NewTeam(threads)
	return s, nil
}

func (s *Subject) prepare() (err error) {
	if s.Config, err = arch.FromGGUF(s.File); err != nil {
		return err
	}
	if err = s.prepareTexts(); err != nil {
		return err
	}
	s.Weights, err = reference.Load(s.File, s.Config)
	return err
}

func (s *Subject) prepareTexts() (err error) {
	if s.Tokenizer, err = tokenizer.FromGGUF(s.File); err != nil {
		return err
	}
	s.Texts, err = Texts(s.Tokenizer)
	return err
}

// Close frees what OpenSubject took.
func (s *Subject) Close() error {
	s.Team.Close()
	return s.File.Close()
}

// Reference is the subject's reference engine.
func (s *Subject) Reference(b Blend) Reference {
	return Reference{Weights: s.Weights, Team: s.Team, Blend: b}
}

// RandomBlend is the check's blend of random adapters, 64 rows in all, scaled so
// that KL(blend || base) on one text lies between 0.1 and 1 nat: large enough
// that a mistake in the side path shows. It also gives that divergence.
func (s *Subject) RandomBlend(ctx context.Context) (Blend, float64, error) {
	stack, err := adapter.NewStack(RandomAdapters(s.Config, blendAdapters, blendRank, blendSeed, 1))
	if err != nil {
		return Blend{}, 0, err
	}
	row := stack.RowWeights([]float32{0.4, 0.3, 0.2, 0.1})
	text := s.Texts[:1]
	// Bisection on the scale's logarithm; the divergence grows with the scale
	// wherever it is small enough to be of interest.
	lo, hi := math.Log(1e-5), math.Log(10.0)
	for range 40 {
		mid := (lo + hi) / 2
		b := Blend{Stack: stack, Row: make([]float32, len(row))}
		for i, w := range row {
			b.Row[i] = w * float32(math.Exp(mid))
		}
		f, err := Compare(ctx, s.Reference(b), s.Reference(Blend{}), text)
		switch {
		case err != nil:
			return Blend{}, 0, err
		case f.KL < blendLeast*2:
			lo = mid
		case f.KL > blendMost/2:
			hi = mid
		default:
			return b, f.KL, nil
		}
	}
	return Blend{}, 0, &fault.Error{Op: "scale the random blend", Path: s.Path, Err: fmt.Errorf("no scale gives a divergence of %g to %g nats", blendLeast, blendMost)}
}

// FastFigures are the fast path's figures on one model.
type FastFigures struct {
	Base, Blend     Figures
	BlendDivergence float64 // KL(blend || base) of the reference, nats
}

// Fast compares the fast path with the reference, bare and with the blend.
func (s *Subject) Fast(ctx context.Context) (FastFigures, error) {
	var r FastFigures
	m, err := model.Open(s.Path, model.Options{Threads: s.Team.Threads()})
	if err != nil {
		return r, err
	}
	defer m.Close()
	if r.Base, err = Compare(ctx, s.Reference(Blend{}), Fast{Model: m}, s.Texts); err != nil {
		return r, err
	}
	b, divergence, err := s.RandomBlend(ctx)
	if err != nil {
		return r, err
	}
	side, err := m.NewSide(b.Stack)
	if err != nil {
		return r, err
	}
	r.BlendDivergence = divergence
	r.Blend, err = Compare(ctx, s.Reference(b), Fast{Model: m, Side: side, Row: b.Row}, s.Texts)
	return r, err
}

// Miss says why figures are not good enough, or is nil.
func (f Figures) Miss(maxKL, minTop1 float64) error {
	if f.KL < maxKL && f.Top1 >= minTop1 && f.Tokens >= MinTokens {
		return nil
	}
	return &fault.Error{Op: "hold the bar", Err: fmt.Errorf("kl %.6f (under %g), top1 %.4f (at least %g), %d tokens (at least %d)", f.KL, maxKL, f.Top1, minTop1, f.Tokens, MinTokens), Exit: fault.ExitVerify}
}

// String is the figures on a line.
func (f Figures) String() string {
	return fmt.Sprintf("kl=%.6f max_kl=%.4f top1=%.4f ppl=%.4f reference_ppl=%.4f tokens=%d", f.KL, f.MaxKL, f.Top1, f.Perplexity, f.ReferencePerplexity, f.Tokens)
}
