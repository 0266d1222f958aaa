package customize

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/fault"
	"crayon/internal/testmodel/tinydevice"
)

func TestProve(t *testing.T) {
	d := tinydevice.Open(t)
	c := create(t, d, labelled(t), Options{})
	var seen []int
	p, err := Prove(t.Context(), d, c, func(done, total int) {
		require.Equal(t, 12, total)
		seen = append(seen, done)
	})
	require.NoError(t, err)
	require.Equal(t, 12, p.Rows)
	require.Len(t, seen, 12)
	require.Len(t, p.Accuracy, len(strategies))
	require.Len(t, p.Against, len(strategies)-1)
	require.Equal(t, p.Against[0].Verdict, p.Verdict)
	require.Equal(t, "base", p.Against[0].Rival)
	for _, a := range p.Against {
		require.Equal(t, p.Rows, a.Wins+a.Losses+a.Ties)
		gain := p.Accuracy["blend"] - p.Accuracy[a.Rival]
		require.InDelta(t, gain, float64(a.Wins-a.Losses)/float64(p.Rows), 1e-9)
		require.LessOrEqual(t, a.Low, gain+1e-9)
		require.GreaterOrEqual(t, a.High, gain-1e-9)
		require.Contains(t, []string{Better, NotShown, Worse}, a.Verdict)
	}
	again, err := Prove(t.Context(), d, c, nil)
	require.NoError(t, err)
	again.Seconds = p.Seconds
	require.Equal(t, p, again)

	few := labelled(t)
	few.Examples = few.Examples[:3]
	_, err = Prove(t.Context(), d, create(t, d, few, Options{}), nil)
	require.Equal(t, fault.ExitUsage, fault.Code(err))
	bare := labelled(t)
	for i := range bare.Examples {
		bare.Examples[i].Labelled, bare.Examples[i].Answer = false, ""
	}
	_, err = Prove(t.Context(), d, create(t, d, bare, Options{}), nil)
	require.Error(t, err)
}

// kinds of task, as an example file may hold them.
var kinds = []string{"inferred labels", "given labels", "free answers", "own choices", "some without answers"}

// drawSet is a small set of a kind.
func drawSet(t *rapid.T, kind string) *examples.Set {
	set := &examples.Set{Source: "drawn"}
	answers := []string{"ant", "bee", "cat", "dog"}
	n := rapid.IntRange(6, 12).Draw(t, "rows")
	for i := range n {
		e := examples.Example{Question: fmt.Sprintf("%s %d", rapid.StringMatching("[a-z ]{1,12}[a-z]").Draw(t, "question"), i), Answer: rapid.SampledFrom(answers).Draw(t, "answer"), Labelled: true}
		switch kind {
		case "free answers":
			e.Answer = fmt.Sprint(e.Answer, i)
		case "own choices":
			e.Choices = []string{e.Answer, fmt.Sprint("no ", i), "none"}
		case "some without answers":
			if i%3 == 0 {
				e.Answer, e.Labelled = "", false
			}
		}
		set.Examples = append(set.Examples, e)
	}
	switch kind {
	case "given labels":
		set.Labels = answers
	case "inferred labels", "some without answers":
		set.Labels = examples.Labels(set.Examples)
		set.Inferred = set.Labels != nil
	}
	return set
}

// fold i of c, or nil.
func foldOf(d *device.Device, c *Customisation, i int) *fold {
	for _, f := range c.folds(d.Pool) {
		if f.row == i {
			return &f
		}
	}
	return nil
}

// Nothing of a fold but the row's own question hangs on the row left out: not
// on its label, and not on its text.
func TestLeftOutRowTellsItsFoldNothing(t *testing.T) {
	d := tinydevice.Open(t)
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				set := drawSet(rt, kind)
				opt := Options{Keep: rapid.IntRange(-1, 3).Draw(rt, "keep")}
				i := rapid.IntRange(0, len(set.Examples)-1).Draw(rt, "left out")
				if !set.Examples[i].Labelled {
					i = (i + 1) % len(set.Examples)
				}
				remake := func(change func(e *examples.Example)) *Customisation {
					other := *set
					other.Examples = slices.Clone(set.Examples)
					change(&other.Examples[i])
					if set.Inferred || set.Labels == nil && kind != "own choices" {
						other.Labels = examples.Labels(other.Examples)
						other.Inferred = other.Labels != nil
					}
					c, err := Make(t.Context(), d, "mine", &other, opt)
					if err != nil {
						rt.Fatal(err)
					}
					return c
				}
				was := remake(func(*examples.Example) {})
				a := foldOf(d, was, i)
				answer := rapid.SampledFrom([]string{"ant", "bee", "cat", "dog", "none", "newt"}).Draw(rt, "label")
				relabelled := remake(func(e *examples.Example) { e.Answer = answer })
				b := foldOf(d, relabelled, i)
				if a == nil || b == nil {
					return // nothing to choose from
				}
				same(rt, a, b)
				if !slices.Equal(a.shots, b.shots) {
					rt.Fatalf("a label changes the worked examples: %v, %v", a.shots, b.shots)
				}
				scores(rt, t, d, was, a, relabelled, b)

				text := rapid.StringMatching("[a-z ]{1,20}[a-z]").Draw(rt, "text")
				b = foldOf(d, remake(func(e *examples.Example) { e.Question, e.Context = text, "context" }), i)
				same(rt, a, b)
				if !slices.Equal(a.candidates, b.candidates) || a.gold != b.gold {
					rt.Fatalf("a text changes the candidates: %v, %v", a.candidates, b.candidates)
				}
			})
		})
	}
}

func same(t *rapid.T, a, b *fold) {
	if d := cmp.Diff(a.members, b.members); d != "" {
		t.Fatalf("weights: %s", d)
	}
	if d := cmp.Diff(a.labels, b.labels); d != "" {
		t.Fatalf("labels: %s", d)
	}
}

// scores are equal for all candidates that both folds have, under every
// strategy. It runs the model, so only some draws are scored.
func scores(rt *rapid.T, t *testing.T, d *device.Device, was *Customisation, a *fold, now *Customisation, b *fold) {
	if rapid.IntRange(0, 7).Draw(rt, "score") != 0 {
		return
	}
	of := func(c *Customisation, f *fold) []map[string]float64 {
		qs, err := c.questions(d, *f)
		if err != nil {
			rt.Fatal(err)
		}
		all, err := d.Score(t.Context(), qs)
		if err != nil {
			rt.Fatal(err)
		}
		out := make([]map[string]float64, len(all))
		for i := range all {
			out[i] = map[string]float64{}
			for j, x := range all[i] {
				out[i][f.candidates[j]] = x
			}
		}
		return out
	}
	x, y := of(was, a), of(now, b)
	for i := range x {
		for candidate, score := range x[i] {
			if other, both := y[i][candidate]; both && math.Abs(score-other) > 1e-9 {
				rt.Fatalf("%s, %q: %v, then %v", strategies[i], candidate, score, other)
			}
		}
	}
}

func TestFolds(t *testing.T) {
	d := tinydevice.Open(t)
	c := create(t, d, labelled(t), Options{})
	for _, f := range c.folds(d.Pool) {
		require.Equal(t, []string{"east", "north", "south", "west"}, f.labels)
		require.Equal(t, f.labels, f.candidates)
		require.Equal(t, c.Examples[f.row].Answer, f.candidates[f.gold])
		require.Len(t, f.shots, shots)
		require.NotContains(t, f.shots, f.row)
	}
	// A label that only the left-out row gives is not known to its fold.
	c.Examples[5].Answer = "up"
	f := foldOf(d, c, 5)
	require.Equal(t, -1, f.gold)
	require.NotContains(t, f.candidates, "up")
	require.Contains(t, foldOf(d, c, 6).candidates, "up")

	// Labels that the user named stay as they are.
	c.Labels, c.Inferred = []string{"east", "north", "south", "up", "west"}, false
	require.Equal(t, 3, foldOf(d, c, 5).gold)

	// Without labels the others' answers are the wrong choices.
	c.Labels = nil
	for i := range c.Examples {
		c.Examples[i].Answer = fmt.Sprint("answer ", i)
	}
	f = foldOf(d, c, 0)
	require.Nil(t, f.labels)
	require.Len(t, f.candidates, maxFree+1)
	require.Equal(t, "answer 0", f.candidates[f.gold])
}

func TestCompare(t *testing.T) {
	rows := func(wins, losses, ties int) (a, b []bool) {
		for range wins {
			a, b = append(a, true), append(b, false)
		}
		for range losses {
			a, b = append(a, false), append(b, true)
		}
		for i := range ties {
			a, b = append(a, i%2 == 0), append(b, i%2 == 0)
		}
		return a, b
	}
	for _, x := range []struct {
		wins, losses, ties int
		p                  float64
		verdict            string
		need               int
	}{
		{5, 0, 11, 1.0 / 32, Better, 0},
		{4, 0, 12, 1.0 / 16, NotShown, 18}, // 18/16 of 4 rounds to 5
		{0, 5, 11, 1, Worse, 0},
		{9, 2, 5, 67.0 / 2048, Better, 0},
		{8, 3, 5, 232.0 / 2048, NotShown, 0},
		{3, 3, 10, 42.0 / 64, NotShown, 0},
		{0, 0, 16, 1, NotShown, 0},
	} {
		a, b := rows(x.wins, x.losses, x.ties)
		c := compare("base", a, b)
		require.Equal(t, []int{x.wins, x.losses, x.ties}, []int{c.Wins, c.Losses, c.Ties})
		require.InDelta(t, x.p, c.P, 1e-9, "%+v", x)
		require.Equal(t, x.verdict, c.Verdict, "%+v", x)
		if x.need > 0 {
			require.Equal(t, x.need, c.Need)
		}
		if x.wins+x.losses == 0 {
			require.Zero(t, c.Low)
			require.Zero(t, c.High)
			require.False(t, math.Signbit(c.Low))
		}
	}
}

// Clopper and Pearson's interval, from its definition: at its ends the tails
// are 2.5 %.
func TestClopperPearson(t *testing.T) {
	binomial := func(n, k int, p float64) (sum float64) { // P(X >= k)
		for i := k; i <= n; i++ {
			a, _ := math.Lgamma(float64(n + 1))
			b, _ := math.Lgamma(float64(i + 1))
			c, _ := math.Lgamma(float64(n - i + 1))
			sum += math.Exp(a - b - c + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
		}
		return sum
	}
	for n := 1; n <= 20; n++ {
		for k := 0; k <= n; k++ {
			low, high := clopperPearson(k, n)
			if k == 0 {
				require.Zero(t, low)
			} else {
				require.InDelta(t, 0.025, binomial(n, k, low), 1e-6)
			}
			if k == n {
				require.EqualValues(t, 1, high)
			} else {
				require.InDelta(t, 0.975, binomial(n, k+1, high), 1e-6)
			}
		}
	}
	low, high := clopperPearson(8, 10) // as tables have it
	require.InDelta(t, 0.4439, low, 1e-4)
	require.InDelta(t, 0.9748, high, 1e-4)
	low, high = clopperPearson(0, 0)
	require.Equal(t, []float64{0, 1}, []float64{low, high})
}

func TestTailAndNeed(t *testing.T) {
	require.InDelta(t, 1.0/1024, tail(10, 10), 1e-12)
	require.InDelta(t, 11.0/1024, tail(9, 10), 1e-12)
	require.EqualValues(t, 1, tail(0, 10))
	require.Zero(t, need(3, 3, 10))
	require.Zero(t, need(0, 0, 0))
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.IntRange(1, 60).Draw(t, "rows")
		wins := rapid.IntRange(0, rows).Draw(t, "wins")
		losses := rapid.IntRange(0, rows-wins).Draw(t, "losses")
		n := need(wins, losses, rows)
		if n == 0 {
			return
		}
		if n <= rows {
			t.Fatalf("%d rows decide, of which %d did not", n, rows)
		}
		f := float64(n) / float64(rows)
		a, b := math.Round(f*float64(max(wins, losses))), math.Round(f*float64(min(wins, losses)))
		if tail(int(a), int(a+b)) > level {
			t.Fatalf("%d rows do not decide", n)
		}
	})
}
