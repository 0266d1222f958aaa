package strategy

import (
	"context"
	"errors"

	"crayon/internal/adapter"
	"crayon/internal/fault"
	"crayon/internal/pool"
)

// Memo is an engine that remembers scores by the content of the ask, so that
// folds share passes. It forgets all when it holds too many.
type Memo struct {
	Engine
	known map[Key][]Score
	held  int // scores
	asked int
}

// mostHeld bounds a Memo: a score and its share of a key take some 100 bytes.
const mostHeld = 1 << 20

var errShort = errors.New("the engine answered less than it was asked")

// NewMemo remembers for e; a Memo is returned as it is.
func NewMemo(e Engine) *Memo {
	if m, ok := e.(*Memo); ok {
		return m
	}
	return &Memo{Engine: e, known: map[Key][]Score{}}
}

// Pool implements Engine.
func (m *Memo) Pool() *pool.Pool { return m.Engine.Pool() }

// Asked is how many asks the engine behind was asked.
func (m *Memo) Asked() int { return m.asked }

// Score implements Engine. Its results are shared: they are not to be written.
func (m *Memo) Score(ctx context.Context, asks []Ask) ([][]Score, error) {
	out := make([][]Score, len(asks))
	var fresh batch
	at := make([]int, len(asks))
	for i, a := range asks {
		k := a.Key()
		if s, ok := m.known[k]; ok {
			out[i], at[i] = s, -1
			continue
		}
		at[i] = fresh.put(k, a)
	}
	if len(fresh.asks) == 0 {
		return out, nil
	}
	scores, err := m.Engine.Score(ctx, fresh.asks)
	if err != nil {
		return nil, err
	}
	if len(scores) != len(fresh.asks) {
		return nil, &fault.Error{Op: "score", Err: errShort}
	}
	m.asked += len(fresh.asks)
	if m.held > mostHeld {
		clear(m.known)
		m.held = 0
	}
	for k, i := range fresh.at {
		m.known[k] = scores[i]
		m.held += len(scores[i]) + 1
	}
	for i, k := range at {
		if k >= 0 {
			out[i] = scores[k]
		}
	}
	return out, nil
}

// Learner is the learner behind the engine, with scores remembered, or nil.
func (m *Memo) Learner() Learner {
	l, ok := m.Engine.(Learner)
	if !ok {
		return nil
	}
	return memoLearner{m, l}
}

// memoLearner scores through the memo and learns past it.
type memoLearner struct {
	*Memo
	learner
}

// learner is what a Learner has beside an Engine.
type learner interface {
	Gradient(ctx context.Context, asks []Ask, golds []int) (loss float64, members []float64, err error)
	Tune(ctx context.Context, t Tuning, asks []Ask, golds []int) (*adapter.Adapter, error)
}

// Learns returns the engine as a Learner, if it is one.
func Learns(e Engine) (Learner, bool) {
	if m, ok := e.(*Memo); ok {
		l := m.Learner()
		return l, l != nil
	}
	l, ok := e.(Learner)
	return l, ok
}
