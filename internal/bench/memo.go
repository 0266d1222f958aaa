package bench

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"crayon/internal/adapter"
	"crayon/internal/fault"
	"crayon/internal/pool"
	"crayon/internal/strategy"
)

// memo is an engine that strategies share: an ask that was answered for one is
// known to the next. What is known costs its time and tokens all the same, so
// that a strategy's cost does not depend on which ran before it.
type memo struct {
	engine strategy.Engine
	disk   *Memory // nil: none
	passes cost    // of all that was answered, with a disk: known ones count as if they were asked
	known  map[strategy.Key]*answer
	order  []strategy.Key // first in, first out
	next   int            // of order, the oldest
	held   int            // scores
	saved  cost           // of asks that were known
}

// answer is what one ask gave and took.
type answer struct {
	scores []strategy.Score
	cost   cost
}

// cost is time and tokens through the model.
type cost struct {
	seconds float64
	tokens  float64
}

func (c *cost) add(o cost) { c.seconds, c.tokens = c.seconds+o.seconds, c.tokens+o.tokens }

// mostHeld bounds a memo's scores: with their keys they take some 300 bytes each.
const mostHeld = 1 << 19

func newMemo(e strategy.Engine) *memo {
	return &memo{engine: e, known: map[strategy.Key]*answer{}}
}

// asEngine is the memo as a strategy sees it: a Learner if there is one behind it.
func (m *memo) asEngine() strategy.Engine {
	if l, ok := strategy.Learns(m.engine); ok {
		return learnedMemo{m, l}
	}
	return onlyMemo{m}
}

type onlyMemo struct{ *memo }

// learnedMemo scores through the memo and learns past it.
type learnedMemo struct {
	*memo
	learner strategy.Learner
}

func (l learnedMemo) Gradient(ctx context.Context, asks []strategy.Ask, golds []int) (float64, []float64, error) {
	return l.learner.Gradient(ctx, asks, golds)
}

func (l learnedMemo) Tune(ctx context.Context, t strategy.Tuning, asks []strategy.Ask, golds []int) (*adapter.Adapter, error) {
	return l.learner.Tune(ctx, t, asks, golds)
}

// Pool implements strategy.Engine.
func (m *memo) Pool() *pool.Pool { return m.engine.Pool() }

// Score answers what is known from memory and asks the engine for the rest at once.
func (m *memo) Score(ctx context.Context, asks []strategy.Ask) ([][]strategy.Score, error) {
	out := make([][]strategy.Score, len(asks))
	keys := make([]strategy.Key, len(asks))
	var fresh []strategy.Ask
	var at []int // of fresh, its first place in asks
	waiting := map[strategy.Key]bool{}
	for i := range asks {
		keys[i] = asks[i].Key()
		if a := m.known[keys[i]]; a != nil {
			out[i] = a.scores
			m.saved.add(a.cost)
		} else if !waiting[keys[i]] {
			waiting[keys[i]] = true
			fresh, at = append(fresh, asks[i]), append(at, i)
		}
	}
	if len(fresh) == 0 {
		return out, nil
	}
	answers, err := m.ask(ctx, fresh)
	if err != nil {
		return nil, err
	}
	got := make(map[strategy.Key]*answer, len(fresh))
	for j, i := range at {
		got[keys[i]] = answers[j]
		m.keep(keys[i], answers[j])
	}
	for i := range asks {
		if out[i] == nil {
			out[i] = got[keys[i]].scores
		}
	}
	return out, nil
}

// ask asks the disk, where there is one, and the engine for what that lacks.
func (m *memo) ask(ctx context.Context, asks []strategy.Ask) ([]*answer, error) {
	if m.disk == nil {
		return m.compute(ctx, asks)
	}
	out, keys := make([]*answer, len(asks)), make([]recallKey, len(asks))
	var unknown []strategy.Ask
	for i := range asks {
		if keys[i], out[i] = m.disk.scores(&asks[i]); out[i] == nil {
			unknown = append(unknown, asks[i])
		}
	}
	if len(unknown) > 0 {
		if m.disk.closed {
			return nil, m.disk.lacks(fmt.Sprintf("%d asks", len(unknown)))
		}
		answers, err := m.compute(ctx, unknown)
		if err != nil {
			return nil, err
		}
		for i := range asks {
			if out[i] == nil {
				out[i], answers = answers[0], answers[1:]
				if err := m.disk.add(keys[i], out[i]); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, a := range out {
		m.passes.add(a.cost)
	}
	return out, m.disk.flushLarge()
}

// compute asks the engine, and shares its time and tokens out by length.
func (m *memo) compute(ctx context.Context, asks []strategy.Ask) ([]*answer, error) {
	start, before := time.Now(), tokensOf(m.engine)
	scores, err := m.engine.Score(ctx, asks)
	if err != nil {
		return nil, err
	}
	whole := cost{time.Since(start).Seconds(), float64(tokensOf(m.engine) - before)}
	if len(scores) != len(asks) {
		return nil, &fault.Error{Op: "score", Err: errors.New("the engine answered less than it was asked")}
	}
	size, all := make([]float64, len(asks)), 0.0
	for i := range asks {
		size[i] = length(&asks[i])
		all += size[i]
	}
	out := make([]*answer, len(asks))
	for i := range asks {
		if err := checkScores(scores[i], len(asks[i].Candidates)); err != nil {
			return nil, &fault.Error{Op: "score", Err: err}
		}
		share := size[i] / all
		out[i] = &answer{scores[i], cost{whole.seconds * share, whole.tokens * share}}
	}
	return out, nil
}

func checkScores(scores []strategy.Score, candidates int) error {
	if len(scores) != candidates {
		return errors.New("the engine did not score every choice")
	}
	for _, s := range scores {
		if math.IsNaN(s.Sum) || math.IsInf(s.Sum, 0) {
			return errors.New("a score is not a number")
		}
	}
	return nil
}

// length of an ask in bytes, at least 1: what it costs, about.
func length(a *strategy.Ask) float64 {
	n := 1 + len(a.Text)
	for _, s := range a.Shots {
		n += len(s.Text) + len(s.Answer)
	}
	for _, c := range a.Candidates {
		n += len(c)
	}
	return float64(n)
}

func (m *memo) keep(k strategy.Key, a *answer) {
	if m.known[k] != nil {
		return
	}
	m.known[k] = a
	m.order = append(m.order, k)
	m.held += len(a.scores)
	for m.held > mostHeld {
		oldest := m.order[m.next]
		m.held -= len(m.known[oldest].scores)
		delete(m.known, oldest)
		m.order[m.next] = strategy.Key{}
		m.next++
	}
	if m.next > len(m.order)/2 {
		m.order, m.next = append([]strategy.Key(nil), m.order[m.next:]...), 0
	}
}

// forget drops everything: the next user's asks are others.
func (m *memo) forget() {
	clear(m.known)
	m.order, m.next, m.held = nil, 0, 0
}

// metered is an engine that counts the tokens it computes.
type metered interface{ Computed() int64 }

func tokensOf(e strategy.Engine) int64 {
	if m, ok := e.(metered); ok {
		return m.Computed()
	}
	return 0
}

// since is the time that passed, in seconds; 0 with a disk.
func (m *memo) since(start time.Time) float64 {
	if m.disk != nil {
		return 0
	}
	return time.Since(start).Seconds()
}

// charged measures f: its wall time and tokens, with what was known already
// charged as if it had been computed. With a disk it is the passes' alone, as
// they were when they were computed: no clock, so that a run over it can be
// repeated to the byte.
func (m *memo) charged(f func() error) (cost, error) {
	if m.disk != nil {
		passes, saved := m.passes, m.saved
		err := f()
		return cost{
			seconds: m.passes.seconds - passes.seconds + m.saved.seconds - saved.seconds,
			tokens:  m.passes.tokens - passes.tokens + m.saved.tokens - saved.tokens,
		}, err
	}
	start, saved, tokens := time.Now(), m.saved, tokensOf(m.engine)
	err := f()
	return cost{
		seconds: time.Since(start).Seconds() + m.saved.seconds - saved.seconds,
		tokens:  float64(tokensOf(m.engine)-tokens) + m.saved.tokens - saved.tokens,
	}, err
}
