package oracle

import (
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestCompareRowByHand(t *testing.T) {
	// p = (1/2, 1/4, 1/4), q = (1/4, 1/2, 1/4): KL(p||q) = ln 2 / 4.
	p := []float32{float32(math.Log(2)), 0, 0}
	q := []float32{5, 5 + float32(math.Log(2)), 5}
	r := compareRow(p, q, 2)
	require.NoError(t, r.err)
	require.InDelta(t, math.Ln2/4, r.kl, 1e-6)
	require.False(t, r.same)
	require.InDelta(t, math.Log(4), r.lossWant, 1e-6)
	require.InDelta(t, math.Log(4), r.lossGot, 1e-6)
}

func TestCompareRowProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logit := rapid.Float32Range(-30, 30)
		n := rapid.IntRange(1, 40).Draw(t, "n")
		p := rapid.SliceOfN(logit, n, n).Draw(t, "p")
		q := rapid.SliceOfN(logit, n, n).Draw(t, "q")
		shift := rapid.Float32Range(-8, 8).Draw(t, "shift")
		self := compareRow(p, p, -1)
		require.Zero(t, self.kl)
		require.True(t, self.same)
		r := compareRow(p, q, 0)
		require.GreaterOrEqual(t, r.kl, 0.0)
		moved := make([]float32, n)
		for i := range q {
			moved[i] = q[i] + shift
		}
		require.InDelta(t, r.kl, compareRow(p, moved, 0).kl, 1e-4*(1+r.kl))
		// The definition, term by term.
		lp, lq := logProbs(p), logProbs(q)
		kl := 0.0
		for i := range lp {
			kl += math.Exp(lp[i]) * (lp[i] - lq[i])
		}
		require.InDelta(t, kl, r.kl, 1e-9*(1+kl))
		require.InDelta(t, -lq[0], r.lossGot, 1e-9*(1-lq[0]))
	})
}

func logProbs(x []float32) []float64 {
	sum, top := 0.0, -math.MaxFloat64
	for _, v := range x {
		top = math.Max(top, float64(v))
	}
	for _, v := range x {
		sum += math.Exp(float64(v) - top)
	}
	lp := make([]float64, len(x))
	for i, v := range x {
		lp[i] = float64(v) - top - math.Log(sum)
	}
	return lp
}

// table is an engine that gives a fixed row for each token.
type table map[int32][]float32

var errBroken = errors.New("broken")

func (e table) Logits(_ context.Context, tokens []int32) ([][]float32, error) {
	var rows [][]float32
	for _, t := range tokens {
		row, ok := e[t]
		if !ok {
			return nil, errBroken
		}
		if row != nil {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func TestCompare(t *testing.T) {
	p := table{0: {1, 0}, 1: {0, 1}}
	q := table{0: {0, 1}, 1: {0, 1}}
	f, err := Compare(t.Context(), p, q, [][]int32{{0, 1}, {1, 1}})
	require.NoError(t, err)
	kl := math.Tanh(0.5) // of (1,0) against (0,1): (p0-p1)(1-0)
	require.InDelta(t, kl/4, f.KL, 1e-9)
	require.InDelta(t, kl, f.MaxKL, 1e-9)
	require.Equal(t, 0.75, f.Top1)
	require.Equal(t, 4, f.Tokens)
	l := math.Log(1 + math.Exp(-1)) // loss of the likelier token
	require.InDelta(t, math.Exp((l+1+l)/2), f.ReferencePerplexity, 1e-9)
	require.InDelta(t, math.Exp(l), f.Perplexity, 1e-9)
}

func TestCompareFaults(t *testing.T) {
	good := table{0: {1, 0}, 1: {0, 1}}
	nan := float32(math.NaN())
	for name, other := range map[string]table{
		"engine fails":      {0: {1, 0}},
		"row missing":       {0: {1, 0}, 1: nil},
		"other vocabulary":  {0: {1, 0, 0}, 1: {0, 1, 0}},
		"not a number":      {0: {1, 0}, 1: {0, nan}},
		"infinite":          {0: {1, 0}, 1: {0, float32(math.Inf(-1))}},
		"token past vocab.": {0: {1}, 1: {0}},
	} {
		_, err := Compare(t.Context(), good, other, [][]int32{{0, 1}})
		require.Error(t, err, name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Compare(ctx, good, good, [][]int32{{0, 1}})
	require.ErrorIs(t, err, context.Canceled)
}
