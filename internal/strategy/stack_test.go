package strategy

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPriorIsWhole(t *testing.T) {
	p, err := ParsePrior(priorData)
	require.NoError(t, err)
	for _, name := range []string{"stack", "stack_shots"} {
		for _, kind := range Kinds {
			require.NotEmpty(t, p.Stack[name][kind], "%s, %s", name, kind)
		}
	}
	for _, kind := range Kinds {
		require.Contains(t, p.Choice.Kinds[kind], p.Choice.Default)
		for name := range p.Choice.Kinds[kind] {
			_, err := Get(name)
			require.NoError(t, err)
		}
	}
	for _, bad := range []string{"", "{", "{}", `{"stack":{"stack":{"labels":[{"feature":"luck","scale":1}]}},"choice":{"default":"blend"}}`,
		`{"stack":{"stack":{"labels":[{"feature":"vote"}]}},"choice":{"default":"blend"}}`, `{"stack":{"stack":{"x":[]}},"choice":{"default":"blend"}}`,
		`{"choice":{"default":"blend","kinds":{"labels":{"blend":{"scale":0,"noise":1}}}}}`, `{"choice":{"default":"blend","kinds":{"x":{}}}}`} {
		_, err := ParsePrior([]byte(bad))
		require.Error(t, err, bad)
	}
}

func drawCases(t *rapid.T, dims int) []Case {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
	cases := make([]Case, rapid.IntRange(0, 20).Draw(t, "cases"))
	for i := range cases {
		n := 2 + rng.IntN(4)
		cases[i] = Case{Gold: rng.IntN(n), X: make([][]float64, n)}
		for j := range n {
			for range dims {
				cases[i].X[j] = append(cases[i].X[j], rng.NormFloat64()*3)
			}
		}
	}
	return cases
}

// At the fit the gradient is 0, and no step improves it; held coefficients
// stay.
func TestFitLogitIsTheMaximum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const dims = 5
		cases := drawCases(t, dims)
		mu, sigma := make([]float64, dims), make([]float64, dims)
		var free []int
		for k := range mu {
			mu[k] = rapid.Float64Range(-2, 2).Draw(t, "mu")
			sigma[k] = rapid.SampledFrom([]float64{0, 0.01, 0.3, 1, 10}).Draw(t, "sigma")
			if sigma[k] > 0 {
				free = append(free, k)
			}
		}
		fit, err := FitLogit(cases, mu, sigma)
		if err != nil {
			t.Fatal(err)
		}
		at := posterior(cases, fit.Beta, mu, sigma, free)
		for k := range mu {
			if sigma[k] == 0 && fit.Beta[k] != mu[k] {
				t.Fatalf("held coefficient %d moved", k)
			}
			if sigma[k] > 0 && (fit.Variance[k] <= 0 || fit.Variance[k] > sigma[k]*sigma[k]*(1+1e-9)) {
				t.Fatalf("variance %g of a prior of %g", fit.Variance[k], sigma[k]*sigma[k])
			}
		}
		for _, k := range free {
			for _, h := range []float64{1e-3, -1e-3} {
				near := slices.Clone(fit.Beta)
				near[k] += h * sigma[k]
				if l := posterior(cases, near, mu, sigma, free); l < at-1e-9 {
					t.Fatalf("%g is better than the fit's %g", l, at)
				}
			}
		}
		again, err := FitLogit(cases, mu, sigma)
		if err != nil || !slices.Equal(again.Beta, fit.Beta) {
			t.Fatal("another fit")
		}
	})
}

func TestFitLogitWithoutCasesIsThePrior(t *testing.T) {
	fit, err := FitLogit(nil, []float64{1, -2}, []float64{1, 0})
	require.NoError(t, err)
	require.Equal(t, []float64{1, -2}, fit.Beta)
	require.Equal(t, []float64{1, 0}, fit.Variance)
	_, err = FitLogit([]Case{{X: [][]float64{{math.NaN()}, {0}}}}, []float64{0}, []float64{1})
	require.Error(t, err)
}

// Laplace's evidence in one dimension is the integral, nearly.
func TestEvidence(t *testing.T) {
	cases := []Case{{X: [][]float64{{1}, {-1}}}, {X: [][]float64{{0.5}, {0}}}, {X: [][]float64{{1}, {0}}, Gold: 1}}
	mu, sigma := []float64{0.3}, []float64{0.8}
	fit, err := FitLogit(cases, mu, sigma)
	require.NoError(t, err)
	var integral float64
	const step = 0.001
	for b := -8.0; b < 8; b += step {
		integral += step * math.Exp(-posterior(cases, []float64{b}, mu, sigma, []int{0})) / (sigma[0] * math.Sqrt(2*math.Pi))
	}
	require.InDelta(t, math.Log(integral), fit.Evidence, 0.02)
}

// With labels the stack learns what the prior does not say: here the answer
// is always the longest candidate.
func TestStackLearnsFromLabels(t *testing.T) {
	e := newFake()
	rng := rand.New(rand.NewPCG(1, 9))
	task := Task{Prior: handSet}
	var queries []Row
	for i := range 60 {
		r := Row{Question: string(rune('a'+i%26)) + string(rune('a'+i/26)), Direction: direction(rng)}
		r.Gold = rng.IntN(3)
		for j := range 3 {
			r.Candidates = append(r.Candidates, string(slices.Repeat([]byte{byte('a' + i%20)}, 3+j))+map[bool]string{true: "xxxxxxxxxxxxxxxxxxxxxxx"}[j == r.Gold])
		}
		if i < 30 {
			task.Rows = append(task.Rows, r)
		} else {
			queries = append(queries, r)
		}
	}
	right := func(task Task) (n int) {
		s, err := fit(t, "stack", e, task).Scores(t.Context(), e, task, queries)
		require.NoError(t, err)
		for i := range s {
			if Best(s[i]) == queries[i].Gold {
				n++
			}
		}
		return n
	}
	before := right(Task{Prior: handSet})
	after := right(task)
	require.Greater(t, after, before+5, "of %d", len(queries))
}

func TestFeaturesAreFinite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(Kinds).Draw(t, "kind")
		task := drawTask(t, kind, 1)
		if rapid.Bool().Draw(t, "none") {
			task.Rows = nil
		}
		q := []Row{drawRow(t, rand.New(rand.NewPCG(2, 2)), kind, 77)}
		got, err := Features(t.Context(), newFake(), task, "stack_shots", q)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 || len(got[0].X) != len(q[0].Candidates) {
			t.Fatal("another number")
		}
		for k, name := range got[0].Features {
			var sum float64
			for j := range got[0].X {
				if !finite(got[0].X[j][k]) {
					t.Fatalf("%s is %v", name, got[0].X[j][k])
				}
				sum += got[0].X[j][k]
			}
			if math.Abs(sum) > 1e-6 {
				t.Fatalf("%s is not centred", name)
			}
		}
	})
}

func TestEvidenceForCandidates(t *testing.T) {
	task := rows(8) // two of each answer
	q := task.Rows[0]
	got := evidenceFor(task, &q, 0)
	require.Equal(t, 1, got[0].count, "the row itself does not count")
	require.Equal(t, 2, got[1].count)
	c := float64(cosine(q.Direction, task.Rows[4].Direction))
	require.InDelta(t, c, got[0].max, 1e-9)
	require.InDelta(t, c, got[0].mean, 1e-9)
	require.InDelta(t, math.Exp(c/voteTau), got[0].vote, 1e-9)
	require.Equal(t, 2, evidenceFor(task, &q, -1)[0].count)
	require.Zero(t, evidenceFor(Task{}, &q, -1)[0])
}

func TestOverlap(t *testing.T) {
	in := words("The Red fox, it jumped!")
	require.Equal(t, 1.0, overlap("red FOX", in))
	require.Equal(t, 0.5, overlap("red dog", in))
	require.Zero(t, overlap("...", in))
}

func TestKindOf(t *testing.T) {
	require.Equal(t, Labels, KindOf(Task{Labels: answers}))
	require.Equal(t, Choices, KindOf(Task{}))
	row := func(c ...string) Row { return Row{Candidates: c} }
	require.Equal(t, Fixed, KindOf(Task{Rows: []Row{row("yes", "no"), row("no", "yes")}}))
	require.Equal(t, Choices, KindOf(Task{Rows: []Row{row("yes", "no"), row("no", "maybe")}}))
	require.Equal(t, Choices, KindOf(Task{Rows: []Row{row("yes", "no")}}))
}

// The mean of each pass that reads the question is of that question, not of an
// example's: whatever the kind, it is what the same ask gives alone.
func TestPassesReadTheirQuestion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, kind := range Kinds {
			f := newFake()
			task := drawTask(t, kind, 2)
			task.Prior = DefaultPrior() // of every pass
			query := drawRow(t, rand.New(rand.NewPCG(5, 5)), kind, 99)
			query.Gold = -1
			tables, err := Features(t.Context(), f, task, "stack_shots", []Row{query})
			if err != nil {
				t.Fatal(err)
			}
			for _, pass := range []string{passBase, passShared, passBlend, passShots, passSharedShot} {
				k := slices.Index(tables[0].Features, pass+"_mean")
				if k < 0 {
					continue
				}
				scores, err := f.Score(t.Context(), []Ask{askOf(pass, f.p, task, Blend(f.p, task), query, -1)})
				if err != nil {
					t.Fatal(err)
				}
				for j, want := range centred(scores[0]) {
					if math.Abs(tables[0].X[j][k]-want) > 1e-9 {
						t.Fatalf("%s, %s, candidate %d: %g, not %g", kind, pass, j, tables[0].X[j][k], want)
					}
				}
			}
		}
	})
}
