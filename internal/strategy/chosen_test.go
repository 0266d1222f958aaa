package strategy

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Nothing that a task is told of rows left out of it changes what it makes of
// other rows: the strategies see the task alone. Nor does a row's label change
// what is fitted without it, within the chooser.
func TestLeftOutRowChangesNoScore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(Kinds).Draw(t, "kind")
		whole := drawTask(t, kind, 5)
		i := rapid.IntRange(0, len(whole.Rows)-1).Draw(t, "left out")
		names := Names()
		s, err := Get(rapid.SampledFrom(names).Draw(t, "strategy"))
		if err != nil || !reaches(s) {
			return
		}
		score := func(row Row) [][]float64 {
			changed := whole
			changed.Rows = slices.Clone(whole.Rows)
			changed.Rows[i] = row
			rest := changed.Without(i)
			e := NewMemo(newFake())
			plan, err := s.Fit(t.Context(), e, rest)
			if err != nil {
				t.Fatal(err)
			}
			// The row itself, as a query, and another.
			got, err := plan.Scores(t.Context(), e, rest, []Row{whole.Rows[i], rest.Rows[0]})
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		was := score(whole.Rows[i])
		row := whole.Rows[i]
		row.Gold = (row.Gold + 1) % len(row.Candidates)
		row.Question, row.Context, row.Direction = "something else", "about it", direction(rand.New(rand.NewPCG(4, 4)))
		now := score(row)
		for k := range was {
			if !slices.Equal(was[k], now[k]) {
				t.Fatalf("%s: %v, then %v", s.Name, was[k], now[k])
			}
		}
	})
}

// The features of an example's own row hold nothing of its label.
func TestOwnLabelIsNotInItsFeatures(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(Kinds).Draw(t, "kind")
		task := drawTask(t, kind, 3)
		i := rapid.IntRange(0, len(task.Rows)-1).Draw(t, "row")
		see := func(task Task) [][]float64 {
			e := newFake()
			l, err := bare("stack_shots", e.p, task)
			if err != nil {
				t.Fatal(err)
			}
			for k := range l.Terms {
				l.Terms[k].Beta = 1
			}
			sights, err := l.survey(t.Context(), e, task, l.needs())
			if err != nil {
				t.Fatal(err)
			}
			return sights[i].table(l.Terms)
		}
		was := see(task)
		task.Rows = slices.Clone(task.Rows)
		task.Rows[i].Gold = rapid.IntRange(-1, len(task.Rows[i].Candidates)-1).Draw(t, "label")
		for j, x := range see(task) {
			if !slices.Equal(was[j], x) {
				t.Fatalf("candidate %d: %v, then %v", j, was[j], x)
			}
		}
	})
}

// knowing is a fake whose score for the right answer is better under some
// weights.
type knowing struct {
	*fake
	right map[string]string // by text
	gain  func(a *Ask) float64
}

func (k *knowing) Score(ctx context.Context, asks []Ask) ([][]Score, error) {
	out, err := k.fake.Score(ctx, asks)
	for i := range asks {
		for j, c := range asks[i].Candidates {
			if k.right[asks[i].Text] == c {
				out[i][j].Sum += k.gain(&asks[i]) * float64(out[i][j].Tokens)
			}
		}
	}
	return out, err
}

func knows(task Task, gain func(a *Ask) float64) *knowing {
	k := &knowing{fake: newFake(), right: map[string]string{}, gain: gain}
	for _, r := range task.Rows {
		a := (&Plan{}).Ask(k.p, task, r)
		k.right[a.Text] = r.Candidates[r.Gold]
	}
	return k
}

func TestChoosesWhatTheExamplesSpeakFor(t *testing.T) {
	task := rows(16)
	// The base model alone knows: what other users' tasks say is overruled.
	e := knows(task, func(a *Ask) float64 {
		if a.Members == nil {
			return 4
		}
		return -1
	})
	names := []string{"blend", "shared", "base", "uniform"}
	p, err := Choose(t.Context(), e, task, names, nil)
	require.NoError(t, err)
	require.Equal(t, "base", p.Strategy)
	require.Len(t, p.Rated, 4)
	require.Equal(t, "blend", p.Rated[0].Strategy)
	require.Zero(t, p.Rated[0].Posterior)
	require.Equal(t, 1.0, p.Rated[2].Accuracy)
	require.NotEmpty(t, p.Why)
	for _, r := range p.Rated[1:] {
		x := handSet.Choice.Kinds[Labels][r.Strategy]
		lo, hi := min(x.Mean, r.Observed), max(x.Mean, r.Observed)
		require.True(t, lo <= r.Posterior && r.Posterior <= hi, "between prior and what is observed: %+v", r)
		require.Less(t, r.Deviation, x.Spread)
	}

	// Nothing tells them apart: the default stays, as a worse prior is not overruled by luck.
	again, err := Choose(t.Context(), e, task, names, nil)
	require.NoError(t, err)
	require.Equal(t, p, again)

	byAccuracy, err := chooseByAccuracy(t.Context(), e, task)
	require.NoError(t, err)
	require.Equal(t, 1.0, byAccuracy.Rated[slices.IndexFunc(byAccuracy.Rated, func(c Considered) bool { return c.Strategy == byAccuracy.Strategy })].Accuracy)
}

// A strategy that is expected to be better by less than is uncertain does not
// take the default's place; one that surely is does.
func TestTheDefaultStaysUnlessAnotherIsSurelyBetter(t *testing.T) {
	task := rows(16)
	e := knows(task, func(*Ask) float64 { return 0 }) // what is observed is noise
	for spread, want := range map[float64]string{0.2: "blend", 0.02: "base"} {
		prior := *handSet
		prior.Choice.Kinds = map[Kind]map[string]Experience{KindOf(task): {"blend": {Scale: 1, Noise: 1}, "base": {Scale: 1, Mean: 0.05, Spread: spread, Noise: 4}}}
		task.Prior = &prior
		p, err := Choose(t.Context(), e, task, []string{"blend", "base"}, nil)
		require.NoError(t, err)
		require.Positive(t, p.Rated[1].Posterior)
		require.Equal(t, want, p.Strategy, "spread %g", spread)
	}
}

func TestHopeful(t *testing.T) {
	known := map[string]Experience{"stack": {Scale: 1, Noise: 1}, "blend": {Mean: -0.03, Spread: 0.01, Noise: 0.3},
		"base": {Mean: -0.3, Spread: 0.5, Noise: 0.6}, "shared": {Mean: 0.1, Spread: 0.05, Noise: 0.5}}
	names := []string{"stack", "blend", "base", "shared", "uniform"}
	require.Equal(t, []string{"stack", "base", "shared", "uniform"}, hopeful(slices.Clone(names), known, 16))
	known["base"] = Experience{Mean: -0.3, Spread: 0.2, Noise: 0.6}
	require.Equal(t, []string{"stack", "shared", "uniform"}, hopeful(slices.Clone(names), known, 4), "four rows cannot overrule that")
	require.Equal(t, []string{"stack", "base", "shared", "uniform"}, hopeful(slices.Clone(names), known, 400), "many can")
}

func TestUnlabelledGoesByScope(t *testing.T) {
	e, task := newFake(), rows(4)
	task.Labels = nil
	for i := range task.Rows {
		task.Rows[i].Gold = -1
		task.Rows[i].Direction = e.p.Members[1].Indicator
		task.Rows[i].Candidates = append(slices.Clone(task.Rows[i].Candidates), "of row "+string(rune('a'+i)))
	}
	near := fit(t, Chosen, e, task)
	require.Equal(t, "blend_pmi", near.Strategy)
	require.Equal(t, Blend(e.p, task), near.Members)
	require.Contains(t, near.Why, "within what the pool knows")
	task.Writes = true
	require.Equal(t, "blend", fit(t, Chosen, e, task).Strategy, "what is written is not picked")
	for i := range task.Rows {
		task.Rows[i].Direction = make([]float32, 8)
	}
	require.Equal(t, "shared", fit(t, Chosen, e, task).Strategy)
	task.Writes = false
	require.Equal(t, "shared_pmi", fit(t, Chosen, e, task).Strategy)
	require.Equal(t, "shared_pmi", fit(t, Chosen, e, Task{}).Strategy)
	require.Zero(t, e.calls, "no pass is needed")
}

// Unlabelled choosing reads no answer.
func TestChosenUnlabelledIsWithoutAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e, task := newFake(), drawTask(t, rapid.SampledFrom(Kinds).Draw(t, "kind"), 3)
		plan := func(name string, task Task) *Plan {
			s, err := Get(name)
			if err != nil {
				t.Fatal(err)
			}
			p, err := s.Fit(t.Context(), e, task)
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		require.Equal(t, plan(Chosen, task.silent()), plan(ChosenUnlabelled, task))
	})
}

func TestAffordable(t *testing.T) {
	task := rows(16)
	known := map[string]Experience{"stack": {Mean: 0.1, Spread: 1}, "base": {Spread: 0.1}, "shots16": {Mean: 0.2, Spread: 1}}
	task.Budget = 10 * time.Second
	require.Equal(t, []string{"blend", "stack", "base"}, affordable(task, known))
	task.Budget = time.Minute
	require.Equal(t, []string{"blend", "shots16", "stack", "base"}, affordable(task, known))
	task.Writes = true
	require.Equal(t, []string{"blend", "shots16", "base"}, affordable(task, known))
	task.Writes = false
	task.Budget = time.Millisecond
	require.Equal(t, []string{"blend"}, affordable(task, known))
	needs := Names()
	for _, name := range affordable(Task{Prior: handSet, Writes: true, Rows: task.Rows, Budget: time.Hour}, handSet.Choice.Kinds[Labels]) {
		require.Contains(t, needs, name)
		x, err := Get(name)
		require.NoError(t, err)
		require.False(t, x.Chooses)
	}
	task.Budget, task.Rows = 10*time.Second, append(task.Rows, task.Rows...)
	require.Equal(t, []string{"blend", "base"}, affordable(task, known), "twice the rows cost twice the time")
	task.Rows = slices.Clone(task.Rows[:16])
	require.Equal(t, []string{"blend", "stack", "base"}, affordable(task, known))
	long := func(bytes int) {
		for i := range task.Rows {
			task.Rows[i].Context = strings.Repeat("a long text ", bytes/12)
		}
	}
	task.Budget = 40 * time.Second
	long(1500)
	require.Equal(t, []string{"blend", "shots16", "base"}, affordable(task, known), "long texts cost more")
	long(7200)
	require.Equal(t, []string{"blend"}, affordable(task, known), "there is no time to rate the default itself")
}

func TestFoldsPartitionTheRows(t *testing.T) {
	task := rows(13)
	all := task.labelled()
	for _, n := range []int{1, 4, 13, 40} {
		var seen []int
		for _, f := range foldsOf(task, all, n) {
			require.NotEmpty(t, f)
			seen = append(seen, f...)
		}
		slices.Sort(seen)
		require.Equal(t, all, seen)
	}
}

func TestMemo(t *testing.T) {
	task := rows(6)
	e := newFake()
	m := NewMemo(e)
	require.Same(t, m, NewMemo(m))
	a := (&Plan{}).Ask(e.p, task, task.Rows[0])
	b := (&Plan{Members: sharedAlone(e.p)}).Ask(e.p, task, task.Rows[0])
	first, err := m.Score(t.Context(), []Ask{a, b, a})
	require.NoError(t, err)
	require.Equal(t, 2, m.Asked())
	want, err := e.Score(t.Context(), []Ask{a, b, a})
	require.NoError(t, err)
	require.Equal(t, want, first)
	again, err := m.Score(t.Context(), []Ask{b, a})
	require.NoError(t, err)
	require.Equal(t, [][]Score{want[1], want[0]}, again)
	require.Equal(t, 2, m.Asked())
	_, ok := Learns(m)
	require.False(t, ok)
	m.held = mostHeld + 1
	_, err = m.Score(t.Context(), []Ask{(&Plan{}).Ask(e.p, task, task.Rows[1])})
	require.NoError(t, err)
	require.Len(t, m.known, 1, "bounded")
}

// The folds of a choice share their passes.
func TestChoiceSharesPasses(t *testing.T) {
	e, task := newFake(), rows(16)
	m := NewMemo(e)
	_, err := Choose(t.Context(), m, task, []string{"blend", "base", "shared", "mix", "stack"}, nil)
	require.NoError(t, err)
	require.LessOrEqual(t, m.Asked(), 3*16+2)
}
