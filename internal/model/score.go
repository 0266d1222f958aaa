package model

import (
	"context"
	"errors"

	"crayon/internal/fault"
	"crayon/internal/kernel"
)

// Ask is one prefix with the continuations to be weighed after it.
type Ask struct {
	Prefix  []int32
	Answers [][]int32
	Row     []float32 // adapter weights; nil is the base model
	Cache   *Cache    // holds the first positions of Prefix, not all of them; nil: none is computed yet
}

// Pass computes inputs as Forward does, side given.
type Pass func(ctx context.Context, in []Input, emit func(input, token int, logits []float32) error) error

// LogProbs returns, for every ask and answer, the natural log-probability of
// each answer token given the prefix and the answer's tokens before it. The
// prefix is computed once, its answers as branches of it.
func (m *Model) LogProbs(ctx context.Context, side *Side, asks []Ask) ([][][]float32, error) {
	return m.LogProbsBy(ctx, asks, func(ctx context.Context, in []Input, emit func(input, token int, logits []float32) error) error {
		return m.Forward(ctx, side, in, emit)
	})
}

// LogProbsBy is LogProbs through a pass that others may share. It leaves each
// ask's Cache with the whole Prefix.
func (m *Model) LogProbsBy(ctx context.Context, asks []Ask, pass Pass) ([][][]float32, error) {
	for i := range asks {
		if err := m.checkAsk(&asks[i]); err != nil {
			return nil, err
		}
	}
	res := make([][][]float32, len(asks))
	for lo := 0; lo < len(asks); {
		// Whole asks up to about a chunk of tokens go together.
		hi, n := lo, 0
		for hi < len(asks) && (hi == lo || n+asks[hi].tokens() <= chunk) {
			n += asks[hi].tokens()
			hi++
		}
		if err := m.logProbs(ctx, asks[lo:hi], res[lo:hi], pass); err != nil {
			return nil, err
		}
		lo = hi
	}
	return res, nil
}

// checkAsk refuses what cannot be scored: without a prefix the first token of
// an answer has no probability.
func (m *Model) checkAsk(a *Ask) error {
	if len(a.Prefix) == 0 || a.Cache != nil && a.Cache.Len() >= len(a.Prefix) {
		return &fault.Error{Op: "score answers", Err: errors.New("there is nothing before the answers")}
	}
	for _, x := range a.Answers {
		if err := m.known(x); err != nil {
			return err
		}
	}
	return nil
}

func (a *Ask) tokens() int {
	n := len(a.Prefix)
	for _, x := range a.Answers {
		n += len(x)
	}
	return n
}

func (m *Model) logProbs(ctx context.Context, asks []Ask, res [][][]float32, pass Pass) error {
	prefix := make([]Input, 0, len(asks))
	type place struct{ ask, answer int }
	var branch []Input
	var where []place
	for i, a := range asks {
		res[i] = make([][]float32, len(a.Answers))
		cache := a.Cache
		if cache == nil {
			cache = m.NewCache(len(a.Prefix))
		}
		prefix = append(prefix, Input{Cache: cache, Tokens: a.Prefix[cache.Len():], Row: a.Row, Want: WantLast})
	}
	err := pass(ctx, prefix, func(i, _ int, logits []float32) error {
		norm := kernel.LogSumExp(logits)
		for j, ans := range asks[i].Answers {
			if len(ans) == 0 {
				continue
			}
			res[i][j] = make([]float32, len(ans))
			res[i][j][0] = logits[ans[0]] - norm
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range asks {
		for j, ans := range asks[i].Answers {
			if len(ans) < 2 {
				continue
			}
			branch = append(branch, Input{Cache: prefix[i].Cache.Fork(len(ans)), Tokens: ans[:len(ans)-1], Row: asks[i].Row, Want: WantAll})
			where = append(where, place{i, j})
		}
	}
	return pass(ctx, branch, func(input, token int, logits []float32) error {
		w := where[input]
		next := asks[w.ask].Answers[w.answer][token+1]
		res[w.ask][w.answer][token+1] = logits[next] - kernel.LogSumExp(logits)
		return nil
	})
}

// Mean is the mean of log-probabilities: the score of an answer. An empty
// answer scores 0.
func Mean(lp []float32) float64 {
	if len(lp) == 0 {
		return 0
	}
	var s float64
	for _, x := range lp {
		s += float64(x)
	}
	return s / float64(len(lp))
}
