package oracle

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"

	"crayon/internal/fault"
)

// Engine predicts the next token after every position of a text.
type Engine interface {
	// Logits evaluates the tokens as one new sequence, teacher-forced, and gives
	// a row of unnormalised scores over the vocabulary for each. The rows are
	// the caller's until its next call.
	Logits(ctx context.Context, tokens []int32) ([][]float32, error)
}

// Figures tell how far an engine is from its reference. KL is the
// Kullback-Leibler divergence KL(reference || other) in nats.
type Figures struct {
	KL                  float64 `json:"kl"`         // mean over positions
	MaxKL               float64 `json:"max_kl"`     // of the worst position
	Top1                float64 `json:"top1"`       // share of positions with the same likeliest token
	Perplexity          float64 `json:"perplexity"` // of the other engine on the text
	ReferencePerplexity float64 `json:"reference_perplexity"`
	Tokens              int     `json:"tokens"` // positions compared
}

// Compare runs both engines over the texts and compares every position.
func Compare(ctx context.Context, reference, other Engine, texts [][]int32) (Figures, error) {
	all, err := compareAll(ctx, reference, []Engine{other}, texts, nil)
	if err != nil {
		return Figures{}, err
	}
	return all[0], nil
}

// compareAll is Compare for several engines, with the reference run once.
// progress hears of each text done; it may be nil.
func compareAll(ctx context.Context, reference Engine, others []Engine, texts [][]int32, progress func(done int)) ([]Figures, error) {
	sum := make([]sums, len(others))
	for i, tokens := range texts {
		want, err := rows(ctx, reference, tokens)
		if err != nil {
			return nil, &fault.Error{Op: "run the reference", Path: fmt.Sprintf("text %d", i), Err: err}
		}
		for j, other := range others {
			got, err := rows(ctx, other, tokens)
			if err != nil {
				return nil, &fault.Error{Op: "run the engine under test", Path: fmt.Sprintf("text %d", i), Err: err}
			}
			if err := sum[j].add(tokens, want, got); err != nil {
				return nil, &fault.Error{Op: "compare", Path: fmt.Sprintf("text %d", i), Err: err, Exit: fault.ExitVerify}
			}
		}
		if progress != nil {
			progress(i + 1)
		}
	}
	all := make([]Figures, len(others))
	for j := range sum {
		all[j] = sum[j].figures()
	}
	return all, nil
}

func rows(ctx context.Context, e Engine, tokens []int32) ([][]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	rows, err := e.Logits(ctx, tokens)
	if err != nil {
		return nil, err
	}
	if len(rows) != len(tokens) {
		return nil, fmt.Errorf("%d rows of logits for %d tokens", len(rows), len(tokens))
	}
	return rows, nil
}

type sums struct {
	kl, worst, lossWant, lossGot float64
	same, tokens, predicted      int
}

// position is what one position adds to the sums.
type position struct {
	kl, lossWant, lossGot float64
	same                  bool
	err                   error
}

func (s *sums) add(tokens []int32, want, got [][]float32) error {
	all := make([]position, len(tokens))
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(all); i += workers {
				next := int32(-1)
				if i+1 < len(tokens) {
					next = tokens[i+1]
				}
				all[i] = compareRow(want[i], got[i], next)
			}
		})
	}
	wg.Wait()
	for i, p := range all {
		if p.err != nil {
			return fmt.Errorf("position %d: %w", i, p.err)
		}
		s.kl += p.kl
		s.worst = max(s.worst, p.kl)
		if p.same {
			s.same++
		}
		s.lossWant += p.lossWant
		s.lossGot += p.lossGot
	}
	s.tokens += len(tokens)
	s.predicted += max(len(tokens)-1, 0)
	return nil
}

func (s *sums) figures() Figures {
	n, predicted := math.Max(float64(s.tokens), 1), math.Max(float64(s.predicted), 1)
	return Figures{
		KL: s.kl / n, MaxKL: s.worst, Top1: float64(s.same) / n, Tokens: s.tokens,
		Perplexity: math.Exp(s.lossGot / predicted), ReferencePerplexity: math.Exp(s.lossWant / predicted),
	}
}

// compareRow compares two rows of logits; next is the token that follows in the
// text, -1 at its end. Sums are in float64, so that a divergence of 1e-9 shows.
func compareRow(want, got []float32, next int32) position {
	if len(want) != len(got) || len(want) == 0 || int(next) >= len(want) {
		return position{err: fmt.Errorf("rows of %d and %d logits, next token %d", len(want), len(got), next)}
	}
	top, other := 0, 0
	for i := range want {
		if x, y := want[i], got[i]; x-x != 0 || y-y != 0 {
			return position{err: fmt.Errorf("logit %d is %v in the reference, %v in the other", i, x, y)}
		}
		if want[i] > want[top] {
			top = i
		}
		if got[i] > got[other] {
			other = i
		}
	}
	var massWant, massGot, moment float64
	for i := range want {
		x, y := float64(want[i])-float64(want[top]), float64(got[i])-float64(got[other])
		e := math.Exp(x)
		massWant += e
		massGot += math.Exp(y)
		moment += e * (x - y)
	}
	logWant, logGot := math.Log(massWant), math.Log(massGot)
	p := position{kl: math.Max(moment/massWant-logWant+logGot, 0), same: top == other}
	if next >= 0 {
		p.lossWant = logWant - (float64(want[next]) - float64(want[top]))
		p.lossGot = logGot - (float64(got[next]) - float64(got[other]))
	}
	return p
}
