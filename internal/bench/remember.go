package bench

import (
	"context"

	"crayon/internal/strategy"
)

// Remembered is an engine that asks for nothing twice: what was asked of it for
// one user is known until Forget, and with a memory for good. It learns where
// the engine behind it does.
type Remembered struct {
	strategy.Engine // over what is known

	behind Engine
	memo   *memo
}

// Remember puts what is known, and a memory if one is given, before an engine.
func Remember(e Engine, m *Memory) *Remembered {
	memo := newMemo(e)
	memo.disk = m
	return &Remembered{Engine: memo.asEngine(), behind: e, memo: memo}
}

// Directions are the questions' features, centred and of unit length.
func (r *Remembered) Directions(ctx context.Context, questions []string) ([][]float32, error) {
	if r.memo.disk != nil {
		return r.memo.disk.directions(ctx, r.behind, questions)
	}
	return r.behind.Directions(ctx, questions)
}

// Cost is what f takes in seconds and in tokens through the model. What was
// known costs what it did when it was first asked.
func (r *Remembered) Cost(f func() error) (seconds, tokens float64, err error) {
	c, err := r.memo.charged(f)
	return c.seconds, c.tokens, err
}

// Forget drops what is known of one user; a memory keeps it.
func (r *Remembered) Forget() error {
	r.memo.forget()
	if r.memo.disk == nil {
		return nil
	}
	return r.memo.disk.flush()
}
