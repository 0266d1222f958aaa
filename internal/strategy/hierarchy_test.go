package strategy

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// observed are rows of users whose answers follow logits with coefficients
// drawn from normals of these means and spreads.
func observed(names []string, mu, sigma []float64, users, rows int) []*Observed {
	rng := rand.New(rand.NewPCG(3, 4))
	var out []*Observed
	for u := range users {
		beta := make([]float64, len(mu))
		for k := range mu {
			beta[k] = mu[k] + sigma[k]*rng.NormFloat64()
		}
		for r := range rows {
			o := &Observed{User: fmt.Sprint("u", u), Dataset: fmt.Sprint("d", u/2), Family: fmt.Sprint("f", u/4), Row: fmt.Sprint(r), Kind: Labels,
				Examples: 16, Scope: float64(u+1) / float64(users), Features: names, Scores: map[string][]float64{}}
			scores := make([]float64, 4)
			for j := range scores {
				var x []float64
				for k := range names {
					x = append(x, rng.NormFloat64()*float64(k+1))
					scores[j] += beta[k] * x[k] / float64(k+1)
				}
				o.X = append(o.X, x)
			}
			at := rng.Float64()
			for j, p := range Softmax(scores) {
				if at -= p; at <= 0 || j == 3 {
					o.Gold = j
					break
				}
			}
			// A strategy that knows, one that knows it with noise, one that guesses.
			strong, weak, none := make([]float64, 4), make([]float64, 4), make([]float64, 4)
			for j := range scores {
				strong[j], weak[j], none[j] = 2*scores[j], scores[j]+rng.NormFloat64(), rng.NormFloat64()
			}
			o.Scores["stack"], o.Scores["blend"], o.Scores["base"], o.Scores["nobody"] = strong, weak, none, none
			o.Scores["shared"] = none
			out = append(out, o)
		}
	}
	return out
}

func TestLearnFindsWhatWasPutIn(t *testing.T) {
	names := []string{"shared_shots_mean", "tokens", "vote"}
	mu, sigma := []float64{0.9, -0.5, 0}, []float64{0.15, 0.1, 0.25}
	rows := observed(names, mu, sigma, 60, 50)
	l, err := Learn(rows, handSet, "blend", "made")
	require.NoError(t, err)
	got := l.Prior.Stack["stack"][Labels]
	require.Len(t, got, 3)
	for k, n := range got {
		require.Equal(t, names[k], n.Feature)
		require.InDelta(t, float64(k+1), n.Scale, 0.1*float64(k+1), "centred over four: nearly the deviation")
		require.InDelta(t, mu[k], n.Mu, 0.25, n.Feature, "drawn to the centre, and not held there")
		require.InDelta(t, sigma[k], n.Sigma, 0.2, n.Feature)
	}
	// A kind that no row is of is learned from all; what they say nothing of stands.
	require.Equal(t, got, l.Prior.Stack["stack"][Choices])
	require.Equal(t, handSet.Stack["stack_shots"][Labels], l.Prior.Stack["stack_shots"][Labels])
	require.Len(t, l.Checks, 1)
	require.Greater(t, l.Checks[0].Fitted.Accuracy, l.Checks[0].Centre.Accuracy)
	require.Less(t, l.Checks[0].Fitted.Loss, l.Checks[0].Mean.Loss, "users differ")
	require.Equal(t, 60, l.Checks[0].Users)
	require.Equal(t, 30, l.Checks[0].Datasets)

	x := l.Prior.Choice.Kinds[Labels]
	require.InDelta(t, 1, x["stack"].Scale, 0.3, "its own, not that of the scores observed")
	require.Greater(t, x["stack"].Mean, 0.05)
	require.Less(t, x["base"].Mean, -0.05)
	require.Zero(t, x["blend"].Mean)
	require.NotContains(t, x, "nobody")
	require.EqualValues(t, -1, l.Prior.Choice.Scope, "the blend is always better than guessing")
	require.Equal(t, x, l.Prior.Choice.Kinds[Fixed])

	l, err = Learn(rows, handSet, "", "made")
	require.NoError(t, err)
	require.Equal(t, "stack", l.Prior.Choice.Default)
	data, err := json.Marshal(l.Prior)
	require.NoError(t, err)
	_, err = ParsePrior(data)
	require.NoError(t, err)
}

// The only family of a kind is judged by what the other kinds teach, and the
// default is one of strategies that were tried on the same users.
func TestTheOnlyFamilyOfAKind(t *testing.T) {
	rows := observed([]string{"blend_mean", "tokens", "vote"}, []float64{0.8, -0.5, 0}, []float64{0.1, 0.1, 0.1}, 12, 40)
	for _, o := range rows {
		if o.Family == "f0" {
			o.Kind = Choices
		} else {
			delete(o.Scores, "shared") // which guesses; some of the others it does not
		}
	}
	l, err := Learn(rows, handSet, "", "made")
	require.NoError(t, err)
	require.Len(t, l.Checks, 2)
	for _, c := range l.Checks {
		require.Greater(t, c.Fitted.Accuracy, 0.3, c.Kind)
	}
	require.Equal(t, "stack", l.Prior.Choice.Default)
	require.Contains(t, l.Prior.Choice.Kinds[Choices], "stack")
	require.Greater(t, l.Prior.Choice.Kinds[Choices]["stack"].Scale, 0.3)
}

// Where the strategies' means are equal, the spread found is that of the users
// and not of their few rows.
func TestSpreadIsNotNoise(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	var users []*rival
	for u := range 60 {
		r := &rival{dataset: fmt.Sprint(u), kind: Labels, scores: map[string][][]float64{}}
		for range 40 {
			r.gold = append(r.gold, rng.IntN(2))
			r.scores["blend"] = append(r.scores["blend"], []float64{rng.NormFloat64(), rng.NormFloat64()})
			r.scores["base"] = append(r.scores["base"], []float64{rng.NormFloat64(), rng.NormFloat64()})
		}
		users = append(users, r)
	}
	x, ok := experience(users, "base", 1, "blend", 1)
	require.True(t, ok)
	require.InDelta(t, 0, x.Mean, 0.1)
	require.Less(t, x.Spread, 0.1)
	require.Greater(t, x.Noise, 0.5)
}

func TestScopeCut(t *testing.T) {
	var users []*rival
	for u := range 20 {
		good, bad := []float64{2, 0}, []float64{0, 2}
		r := &rival{dataset: fmt.Sprint(u), kind: Labels, scope: float64(u+1) / 20, gold: []int{0}, scores: map[string][][]float64{"blend": {good}, "shared": {bad}}}
		if u < 8 {
			r.scores["blend"], r.scores["shared"] = r.scores["shared"], r.scores["blend"]
		}
		users = append(users, r)
	}
	at, ok := bestScope(users)
	require.True(t, ok)
	require.InDelta(t, 0.425, at, 1e-6)
	_, ok = bestScope(users[:5])
	require.False(t, ok)
}

func TestReadObserved(t *testing.T) {
	rows := observed([]string{"vote"}, []float64{1}, []float64{0}, 2, 2)
	var b strings.Builder
	for _, o := range rows {
		data, err := json.Marshal(o)
		require.NoError(t, err)
		b.Write(data)
		b.WriteString("\n\n")
	}
	var got []*Observed
	require.NoError(t, ReadObserved("made", strings.NewReader(b.String()), func(o *Observed) error { got = append(got, o); return nil }))
	require.Equal(t, rows, got)
	for _, bad := range []string{"{", `{"gold":0}`, `{"gold":-1,"scores":{"base":[1]}}`, `{"gold":0,"scores":{"base":[1],"blend":[1,2]}}`,
		`{"gold":0,"features":["vote"],"x":[[1,2]]}`, `{"gold":0,"features":["vote"],"x":[[1]],"scores":{"base":[1,2]}}`} {
		require.Error(t, ReadObserved("made", strings.NewReader(bad), func(*Observed) error { return nil }), bad)
	}
	require.True(t, math.IsInf(macroLoss(nil, "base", nil), 1))
}
