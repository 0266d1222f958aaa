package peer

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fake gives its seconds one after another, the last for ever, and notes the order.
type fake struct {
	name    string
	seconds []float64
	log     *[]string
	scores  [][]float64
}

func (f *fake) do(Work) (result, error) {
	if f.log != nil {
		*f.log = append(*f.log, f.name)
	}
	s := f.seconds[0]
	if len(f.seconds) > 1 {
		f.seconds = f.seconds[1:]
	}
	if s < 0 {
		return result{}, errors.New("broken")
	}
	return result{Seconds: s, Scores: f.scores}, nil
}

var row = Row{Name: "r", Work: Work{Kind: Prefill, Tokens: 512}, Contenders: []Contender{{}, {File: Q4_0File}}}

// against is a field of fakes, each doing the row's work as its contender does.
func against(r Row, mine worker, others ...worker) field {
	f := field{mine: entrant{mine, r.Work}}
	for i, o := range others {
		f.others = append(f.others, entrant{o, r.Contenders[i%len(r.Contenders)].work(r.Work)})
	}
	return f
}

func quiet(Measurement) {}

func TestMeasureTakesTheFastestOfEachRepeat(t *testing.T) {
	var log []string
	crayon := &fake{name: "c", seconds: []float64{9, 1}, log: &log}
	a := &fake{name: "a", seconds: []float64{9, 2, 2, 2, 3, 2.1}, log: &log}
	b := &fake{name: "b", seconds: []float64{9, 4, 4, 4, 2.1, 4}, log: &log}
	m, err := measure(t.Context(), row, 5, against(row, crayon, a, b), quiet)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{2, 2, 2, 2.1, 2.1}, m.Ratios, 1e-12)
	require.Equal(t, 2.0, m.Ratio)
	require.InDelta(t, 0.05, m.Spread, 1e-12)
	require.True(t, m.Steady)
	require.Equal(t, 1, m.Attempts)
	require.Equal(t, Contender{}, m.Contender)
	require.Equal(t, 512.0, m.CrayonTPS)
	require.Equal(t, 256.0, m.PeerTPS)
	require.Equal(t, "cab cab bac cab bac cab", strings.Join([]string{
		strings.Join(log[0:3], ""), strings.Join(log[3:6], ""), strings.Join(log[6:9], ""),
		strings.Join(log[9:12], ""), strings.Join(log[12:15], ""), strings.Join(log[15:18], ""),
	}, " "), "one warm-up, then the order alternates")
}

// Crayon against itself: speeds are of all sequences together, a cost is the
// share of speed lost, and a share is of the loop's speed in the same repeat.
func TestMeasureAgainstItself(t *testing.T) {
	batch := Row{Name: "b", Work: Work{Kind: Decode, Tokens: 128, Sequences: 4}, Contenders: []Contender{{Engine: Crayon, Alone: true}}}
	m, err := measure(t.Context(), batch, 5, against(batch, &fake{seconds: []float64{4}}, &fake{seconds: []float64{3}}), quiet)
	require.NoError(t, err)
	require.Equal(t, 128.0, m.CrayonTPS)
	require.InDelta(t, 128.0/3, m.PeerTPS, 1e-9)
	require.InDelta(t, 3, m.Figure(), 1e-9)

	cost := Row{Name: "c", Work: decode, Contenders: []Contender{{Engine: Crayon, Base: true}}, Cost: true, Ceiling: Read}
	f := against(cost, &fake{seconds: []float64{5}}, &fake{seconds: []float64{4}})
	reached := 0.0
	f.cost, f.loop = 1e6, func() float64 { reached += 1e8; return reached }
	m, err = measure(t.Context(), cost, 5, f, quiet)
	require.NoError(t, err)
	require.InDelta(t, 0.2, m.Figure(), 1e-12)
	require.Equal(t, Read, m.Ceiling)
	require.InDelta(t, 3e8, m.Loop, 1)
	require.InDelta(t, 128.0/5*1e6/3e8, m.Share, 1e-12)

	f.loop = func() float64 { return 0 }
	m, err = measure(t.Context(), cost, 5, f, quiet)
	require.NoError(t, err)
	require.Empty(t, m.Ceiling, "no loop at this level, no share")
}

func TestMeasureRetriesWhatSpreads(t *testing.T) {
	wild := []float64{1, 1, 2, 3, 4, 5}
	one := row
	one.Contenders = one.Contenders[:1]
	m, err := measure(t.Context(), one, 5, against(one, &fake{seconds: []float64{1}}, &fake{seconds: append(wild, 2)}), quiet)
	require.NoError(t, err)
	require.True(t, m.Steady)
	require.Equal(t, 2, m.Attempts)
	require.Equal(t, 2.0, m.Ratio)

	for range 10 {
		wild = append(wild, 1, 2, 3, 4, 5)
	}
	var heard []int
	m, err = measure(t.Context(), one, 5, against(one, &fake{seconds: []float64{1}}, &fake{seconds: wild}), func(m Measurement) { heard = append(heard, m.Attempts) })
	require.NoError(t, err)
	require.False(t, m.Steady)
	require.Equal(t, 1+retries, m.Attempts)
	require.Equal(t, 3.0, m.Ratio)
	require.Equal(t, []int{1, 2, 3, 4, 5}, heard)
}

func TestMeasureFaults(t *testing.T) {
	good, broken := &fake{seconds: []float64{1}}, &fake{seconds: []float64{1, 1, -1}}
	_, err := measure(t.Context(), row, 5, against(row, good, good, broken), quiet)
	require.ErrorContains(t, err, "broken")
	_, err = measure(t.Context(), row, 4, against(row, good, good, good), quiet)
	require.Error(t, err)
	_, err = measure(t.Context(), row, 5, against(row, good, good), quiet)
	require.Error(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = measure(ctx, row, 5, against(row, good, good, good), quiet)
	require.ErrorIs(t, err, context.Canceled)
}

// Sides that score differently did not do the same work: that is no race.
func TestMeasureComparesScores(t *testing.T) {
	with := func(scores ...[]float64) *fake { return &fake{seconds: []float64{1}, scores: scores} }
	mine := with([]float64{-1, -2}, []float64{-3})
	m, err := measure(t.Context(), row, 5, against(row, mine, with([]float64{-1.125, -2}, []float64{-3}), with([]float64{-1, -2}, []float64{-3.0625})), quiet)
	require.NoError(t, err)
	require.Equal(t, 0.125, m.Difference)
	for name, other := range map[string]*fake{
		"far":         with([]float64{-1, -2}, []float64{-4}),
		"not a score": with([]float64{-1, -2}, []float64{math.NaN()}),
		"choices":     with([]float64{-1}, []float64{-3}),
		"asks":        with([]float64{-1, -2}),
	} {
		_, err := measure(t.Context(), row, 5, against(row, mine, mine, other), quiet)
		require.Error(t, err, name)
	}
}
