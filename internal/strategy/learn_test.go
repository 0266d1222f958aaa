package strategy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/adapter"
)

// planted is an engine whose scores are linear in the weights, with the answer
// best at the weights planted.
type planted struct {
	*fake
	slopes map[string][]float64 // of a row's candidate, one a member
	stop   context.CancelFunc   // after the next call; nil: never
}

func (p *planted) Score(ctx context.Context, asks []Ask) ([][]Score, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p.calls++
	if p.stop != nil {
		p.stop()
	}
	out := make([][]Score, len(asks))
	for i, a := range asks {
		for _, c := range a.Candidates {
			s := -3.0
			for k, w := range a.Members {
				s += float64(w) * p.slopes[a.Text+c][k]
			}
			out[i] = append(out[i], Score{Sum: 2 * s, Tokens: 2})
		}
	}
	return out, nil
}

// plant makes rows whose answers follow from the weights.
func plant(n int, weights []float64) (*planted, Task) {
	rng := rand.New(rand.NewPCG(11, 12))
	e := &planted{fake: newFake(), slopes: map[string][]float64{}}
	var t Task
	for i := range n {
		r := Row{Question: fmt.Sprint("question ", i), Candidates: []string{"a", "b", "c", "d", "e", "f", "g"}, Direction: direction(rng)}
		best := math.Inf(-1)
		for j, c := range r.Candidates {
			s, slope := 0.0, make([]float64, len(weights))
			for k, w := range weights {
				slope[k] = rng.NormFloat64() / 2
				s += w * slope[k]
			}
			e.slopes[r.Question+c] = slope
			if s > best {
				best, r.Gold = s, j
			}
		}
		t.Rows = append(t.Rows, r)
	}
	return e, t
}

// loss is the plan's ranking loss on the task's own rows, all candidates.
func lossOf(t *testing.T, p *Plan, e Engine, task Task) float64 {
	scores, err := p.Scores(t.Context(), e, task, task.Rows)
	require.NoError(t, err)
	var sum float64
	for i, r := range task.Rows {
		sum -= logSoftmax(scores[i], r.Gold)
	}
	return sum / float64(len(task.Rows))
}

func TestRefineFollowsTheLabels(t *testing.T) {
	truth := []float64{-1, 1, 0.5, 0, 1.5}
	e, task := plant(16, truth)
	before := fit(t, "blend", e, task)
	e.calls = 0
	after := fit(t, "refine", e, task)
	require.Equal(t, 1+len(truth), e.calls, "one pass at the blend, one a member")
	require.Less(t, lossOf(t, after, e, task), lossOf(t, before, e, task)-0.1)
	_, fresh := plant(200, truth)
	e2, _ := plant(200, truth)
	require.Less(t, lossOf(t, after, e2, fresh), lossOf(t, before, e2, fresh)-0.05, "rows never seen")
	again := fit(t, "refine", e, task)
	require.Equal(t, after, again)
}

// What a label does not say: rows that are unlabelled, or have one candidate,
// change nothing.
func TestRefineReadsLabelledRowsAlone(t *testing.T) {
	e, task := plant(8, []float64{1, 0, 0, 1, 1})
	task.Blend = []float32{.25, .25, .25, .25, 1}
	want := fit(t, "refine", e, task)
	more := task
	more.Rows = append(slices.Clone(task.Rows), Row{Question: "alone", Candidates: []string{"x"}}, Row{Question: "open", Candidates: []string{"x", "y"}, Gold: -1})
	require.Equal(t, want, fit(t, "refine", e, more))
	none := task
	none.Rows = more.Rows[8:]
	require.Equal(t, task.Blend, fit(t, "refine", e, none).Members)
}

func TestRefineStaysWhereNothingIsToBeGained(t *testing.T) {
	e, task := plant(8, make([]float64, 5))
	for k := range e.slopes {
		e.slopes[k] = make([]float64, 5)
	}
	p := fit(t, "refine", e, task)
	require.Equal(t, Blend(e.p, task), p.Members)
	require.Contains(t, p.Why, "prior 0;")
}

// All folds ask the same, but for the row left out.
func TestRefinesFoldsShareTheirPasses(t *testing.T) {
	e, task := plant(8, []float64{1, 0, 0, 1, 1})
	task.Blend = []float32{.25, .25, .25, .25, 1}
	m := NewMemo(e)
	fit(t, "refine", m, task)
	asked := m.Asked()
	for i := range task.Rows {
		fit(t, "refine", m, task.Without(i))
	}
	require.Equal(t, asked, m.Asked())
}

func TestLearnedSpreadsOverTheRows(t *testing.T) {
	e, task := plant(100, []float64{1, 0, 0, 0, 0})
	rows, scores, err := learned(t.Context(), e, task, Blend(e.p, task))
	require.NoError(t, err)
	require.Len(t, rows, mostLearned)
	require.Equal(t, task.Rows[0].Question, rows[0].Question)
	require.Equal(t, task.Rows[96].Question, rows[mostLearned-1].Question)
	for i, r := range rows {
		require.Len(t, r.Candidates, 1+rivals)
		require.Len(t, scores[i], 1+rivals)
		require.Zero(t, r.Gold)
		k := i * 100 / mostLearned
		require.Equal(t, task.Rows[k].Candidates[task.Rows[k].Gold], r.Candidates[0])
		for j := 2; j < len(r.Candidates); j++ {
			require.GreaterOrEqual(t, scores[i][j-1].Mean(), scores[i][j].Mean())
		}
	}
}

// bowl scores by how near the weights are to those planted.
type bowl struct {
	*fake
	truth []float64
}

func (b *bowl) Score(ctx context.Context, asks []Ask) ([][]Score, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.calls++
	out := make([][]Score, len(asks))
	for i, a := range asks {
		s := -1.0
		for k, w := range a.Members {
			s -= (float64(w) - b.truth[k]) * (float64(w) - b.truth[k])
		}
		for range a.Candidates {
			out[i] = append(out[i], Score{Sum: 3 * s, Tokens: 3})
		}
	}
	return out, nil
}

func TestLorahubFindsThePlantedWeights(t *testing.T) {
	e := &bowl{newFake(), []float64{1, -0.8, 0, 0.6, 5}} // the last is out of bounds
	p := fit(t, "lorahub", e, rows(8))
	require.LessOrEqual(t, e.calls, lorahubSteps)
	require.Greater(t, e.calls, lorahubSteps/2)
	near := func(w []float32) (d float64) {
		for k, x := range w {
			d += math.Pow(float64(x)-min(e.truth[k], lorahubBound), 2)
		}
		return d
	}
	require.Less(t, near(p.Members), near(make([]float32, 5))/2)
	for _, w := range p.Members {
		require.LessOrEqual(t, math.Abs(float64(w)), lorahubBound)
	}
	require.Equal(t, p, fit(t, "lorahub", e, rows(8)))
	require.Equal(t, Blend(e.p, Task{}), fit(t, "lorahub", e, Task{}).Members)
}

func TestLearningStops(t *testing.T) {
	for _, name := range []string{"refine", "lorahub"} {
		e, task := plant(6, []float64{1, 1, 0, 0, 0})
		ctx, cancel := context.WithCancel(t.Context())
		e.stop = cancel
		s, err := Get(name)
		require.NoError(t, err)
		_, err = s.Fit(ctx, e, task)
		require.ErrorIs(t, err, context.Canceled, name)
		require.Equal(t, 1, e.calls, name)
	}
}

// pupil is an engine that notes how it was taught.
type pupil struct {
	*planted
	tuning Tuning
	asks   []Ask
	golds  []int
	err    error
}

func (p *pupil) Gradient(context.Context, []Ask, []int) (float64, []float64, error) {
	return 0, nil, errors.New("not asked for")
}

func (p *pupil) Tune(_ context.Context, t Tuning, asks []Ask, golds []int) (*adapter.Adapter, error) {
	p.tuning, p.asks, p.golds = t, asks, golds
	return &adapter.Adapter{Name: "private"}, p.err
}

func TestPolishTeachesTheLabelledAndHoldsAll(t *testing.T) {
	e, task := plant(6, []float64{1, 1, 0, 0, 0})
	task.Rows[2].Gold = -1
	for name, members := range map[string][]float32{"polish": Blend(e.p, task), "polish_base": nil} {
		l := &pupil{planted: e}
		p := fit(t, name, NewMemo(l), task)
		require.Equal(t, members, p.Members)
		require.NotNil(t, p.Private)
		require.Len(t, l.asks, 5)
		require.Equal(t, make([]int, 5), l.golds)
		require.Len(t, l.tuning.Held, 6)
		for i, a := range l.tuning.Held {
			require.Equal(t, members, a.Members)
			require.Len(t, a.Candidates, 1+rivals)
			require.Nil(t, a.Private)
			if i < 5 {
				require.Equal(t, l.asks[i], a, "the same ask, so that it is computed once")
			}
		}
		require.Equal(t, "question 2", l.tuning.Held[5].Text)

		bare := task
		bare.Rows = task.Rows[2:3]
		require.Nil(t, fit(t, name, l, bare).Private)
		s, _ := Get(name)
		l.err = context.Canceled
		_, err := s.Fit(t.Context(), l, task)
		require.ErrorIs(t, err, context.Canceled)
		_, err = s.Fit(t.Context(), e, task)
		require.ErrorContains(t, err, "does not learn")
	}
}
