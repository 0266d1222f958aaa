package strategy

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/adapter"
	"crayon/internal/pool"
)

func TestGet(t *testing.T) {
	for _, s := range All() {
		got, err := Get(s.Name)
		require.NoError(t, err)
		require.Equal(t, s.About, got.About)
		require.NotEmpty(t, s.About)
		require.NotNil(t, s.Fit)
	}
	_, err := Get("guess")
	require.ErrorContains(t, err, `no strategy "guess"`)
}

// reaches says whether a strategy can be fitted without a learner.
func reaches(s Strategy) bool { return s.Cost != Learning }

// Every strategy fits every kind of task, with no rows too; its plan is
// stored and read as it was, and scores every candidate in one call.
func TestStrategiesFitAndScore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := newFake()
		kind := rapid.SampledFrom(Kinds).Draw(t, "kind")
		task := drawTask(t, kind, 2)
		if rapid.IntRange(0, 4).Draw(t, "empty") == 0 {
			task.Rows = nil
		}
		rng := rand.New(rand.NewPCG(9, 9))
		queries := []Row{drawRow(t, rng, kind, 100), drawRow(t, rng, kind, 101)}
		for _, s := range All() {
			if !reaches(s) {
				continue
			}
			plan, err := s.Fit(t.Context(), e, task)
			if err != nil {
				t.Fatalf("%s: %v", s.Name, err)
			}
			data, err := json.Marshal(plan)
			if err != nil {
				t.Fatal(err)
			}
			stored := &Plan{}
			if err := json.Unmarshal(data, stored); err != nil {
				t.Fatal(err)
			}
			calls := e.calls
			a, err := plan.Scores(t.Context(), e, task, queries)
			if err != nil {
				t.Fatalf("%s: %v", s.Name, err)
			}
			if e.calls != calls+1 {
				t.Fatalf("%s: %d calls", s.Name, e.calls-calls)
			}
			b, err := stored.Scores(t.Context(), e, task, queries)
			if err != nil {
				t.Fatal(err)
			}
			for i, q := range queries {
				if len(a[i]) != len(q.Candidates) || !slices.Equal(a[i], b[i]) {
					t.Fatalf("%s: scores %v, stored %v", s.Name, a[i], b[i])
				}
				for _, x := range a[i] {
					if !finite(x) {
						t.Fatalf("%s: scores %v", s.Name, a[i])
					}
				}
			}
			// Whose gold it is says nothing.
			other := slices.Clone(queries)
			other[0].Gold, other[1].Gold = 0, -1
			c, err := plan.Scores(t.Context(), e, task, other)
			if err != nil || !slices.Equal(a[0], c[0]) || !slices.Equal(a[1], c[1]) {
				t.Fatalf("%s reads the gold: %v, %v (%v)", s.Name, a, c, err)
			}
		}
	})
}

func fit(t *testing.T, name string, e Engine, task Task) *Plan {
	t.Helper()
	s, err := Get(name)
	require.NoError(t, err)
	p, err := s.Fit(t.Context(), e, task)
	require.NoError(t, err)
	return p
}

// rows of a fixed task of labels.
func rows(n int) Task {
	rng := rand.New(rand.NewPCG(5, 6))
	t := Task{Labels: answers, Prior: handSet}
	for i := range n {
		t.Rows = append(t.Rows, Row{Question: string(rune('a' + i)), Candidates: answers, Gold: i % len(answers), Direction: direction(rng)})
	}
	return t
}

func TestWeights(t *testing.T) {
	e, task := newFake(), rows(6)
	require.Nil(t, fit(t, "base", e, task).Members)
	require.Equal(t, []float32{0, 0, 0, 0, 1}, fit(t, "shared", e, task).Members)
	require.Equal(t, []float32{.25, .25, .25, .25, 1}, fit(t, "uniform", e, task).Members)
	mean := Mean(e.p, task)
	top := fit(t, "top1", e, task).Members
	best := slices.Index(mean, slices.Max(mean))
	for k := range mean {
		if k == best {
			require.InDelta(t, 1, top[k], 1e-6)
		} else {
			require.Zero(t, top[k])
		}
	}
	require.Equal(t, e.p.All(pool.KeepTop(mean, 2), 1), fit(t, "blend", e, task).Members)
	task.Keep = -1
	require.Equal(t, e.p.All(mean, 1), fit(t, "blend", e, task).Members)
	for _, name := range []string{"blend", "top1", "blend_query"} {
		require.Equal(t, sharedAlone(e.p), fit(t, name, e, Task{}).Members)
	}
	q := task.Rows[3]
	require.Equal(t, own(e.p, q.Direction, 0), fit(t, "blend_query", e, task).Ask(e.p, task, q).Members)
}

func TestWorkedExamplesAreTheNearestLast(t *testing.T) {
	task := rows(9)
	task.Rows[2].Gold = -1
	q := task.Rows[4].Direction
	got := worked(task, q, 3, 0)
	require.Len(t, got, 3)
	require.Equal(t, "e", got[2].Text)
	require.Equal(t, "ant", got[2].Answer)
	require.Len(t, worked(task, q, 50, 0), 8)
	require.Equal(t, worked(task, q, 50, 0)[2:5], worked(task, q, 3, 3))
	require.Len(t, worked(task, q, 4, 7), 1)
	require.Empty(t, worked(task, q, 4, 9))
	require.Empty(t, worked(Task{}, q, 5, 2))
}

func TestMixtureIsTheMeanOfProbabilities(t *testing.T) {
	e, task := newFake(), rows(6)
	q := []Row{{Question: "what", Candidates: answers, Direction: task.Rows[0].Direction}}
	want := make([]float64, len(answers))
	for _, name := range []string{"base", "shared", "blend"} {
		s, err := fit(t, name, e, task).Scores(t.Context(), e, task, q)
		require.NoError(t, err)
		for j, p := range Softmax(s[0]) {
			want[j] += p / 3
		}
	}
	s, err := fit(t, "mix", e, task).Scores(t.Context(), e, task, q)
	require.NoError(t, err)
	require.InDeltaSlice(t, want, Softmax(s[0]), 1e-12)
}

// Outside the scope the answer is the base model's, inside it is the plan's,
// and the strength between is smooth and never falls as the scope grows.
func TestGate(t *testing.T) {
	e, task := newFake(), rows(4)
	for i := range task.Rows {
		task.Rows[i].Direction = []float32{1, 0, 0, 0, 0, 0, 0, 0}
	}
	g := &Gate{Low: 0.2, High: 0.6}
	at := func(c float64) []float32 { return []float32{float32(c), float32(math.Sqrt(1 - c*c)), 0, 0, 0, 0, 0, 0} }
	require.Zero(t, g.Strength(task, at(0.1)))
	require.EqualValues(t, 1, g.Strength(task, at(0.7)))
	require.InDelta(t, 0.5, g.Strength(task, at(0.4)), 1e-3)
	require.EqualValues(t, 1, (*Gate)(nil).Strength(task, at(0)))
	before := float32(0)
	for c := 0.0; c < 1; c += 0.01 {
		s := g.Strength(task, at(c))
		require.GreaterOrEqual(t, s, before)
		require.Less(t, s-before, float32(0.05))
		before = s
	}
	for _, name := range []string{"blend", "stack", "mix", "blend_query"} {
		plan := fit(t, name, e, task)
		free := fit(t, name, e, task)
		plan.Gate = g
		for i := range plan.Parts {
			plan.Parts[i].Plan.Gate = g
		}
		score := func(p *Plan, dir []float32) []float64 {
			s, err := p.Scores(t.Context(), e, task, []Row{{Question: "what", Candidates: answers, Direction: dir}})
			require.NoError(t, err)
			return Softmax(s[0])
		}
		require.InDeltaSlice(t, score(fit(t, "base", e, task), at(0)), score(plan, at(0)), 1e-12, name)
		require.InDeltaSlice(t, score(free, at(0.9)), score(plan, at(0.9)), 1e-12, name)
	}
	private := &adapter.Adapter{Scale: 2}
	p := &Plan{Members: []float32{1, 1, 1, 1, 1}, Private: private, Gate: g}
	a := p.Ask(e.p, task, Row{Direction: at(0.4)})
	require.InDelta(t, 1, a.Private.Scale, 1e-2)
	require.InDelta(t, 0.5, a.Members[0], 1e-2)
	require.EqualValues(t, 2, private.Scale)
	require.EqualValues(t, 1, p.Members[0])
	require.Nil(t, p.Ask(e.p, task, Row{Direction: at(0)}).Private)
}

func TestPlanCheck(t *testing.T) {
	e := newFake()
	nan := float32(math.NaN())
	for name, p := range map[string]*Plan{
		"weights":    {Members: []float32{1}},
		"not finite": {Members: []float32{1, 1, 1, 1, nan}},
		"shots":      {Shots: -1},
		"keep":       {Keep: -1},
		"gate":       {Gate: &Gate{Low: 1, High: 0}},
		"empty part": {Parts: []Part{{Share: 1}}},
		"share":      {Parts: []Part{{Share: 0, Plan: &Plan{}}}},
		"part":       {Parts: []Part{{Share: 1, Plan: &Plan{Shots: -1}}}},
		"both":       {Logit: &Logit{Kind: Labels}, Parts: []Part{{Share: 1, Plan: &Plan{}}}},
		"kind":       {Logit: &Logit{Kind: "x"}},
		"feature":    {Logit: &Logit{Kind: Labels, Terms: []Term{{Feature: "x", Scale: 1}}}},
		"scale":      {Logit: &Logit{Kind: Labels, Terms: []Term{{Feature: "vote"}}}},
		"levels":     {Logit: &Logit{Kind: Labels, Levels: &Levels{Candidates: answers, Mean: map[string][]float64{"base": {1}}}}},
		"blend":      {Logit: &Logit{Kind: Labels, Blend: []float32{1}}},
	} {
		require.Error(t, p.Check(e.p), name)
		_, err := p.Scores(t.Context(), e, Task{}, nil)
		require.Error(t, err, name)
	}
	deep := &Plan{}
	for range 10 {
		deep = &Plan{Parts: []Part{{Share: 1, Plan: deep}}}
	}
	require.Error(t, deep.Check(e.p))
}
