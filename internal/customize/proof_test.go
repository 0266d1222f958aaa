package customize

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/examples"
	"crayon/internal/fault"
	"crayon/internal/strategy"
	"crayon/internal/strategy/deviceengine"
	"crayon/internal/testmodel/tinydevice"
)

func TestProve(t *testing.T) {
	d := tinydevice.Open(t)
	c := create(t, d, labelled(t), Options{})
	var seen []int
	p, err := Prove(t.Context(), d, c, Options{}, func(done, total int) {
		require.Equal(t, 12, total)
		seen = append(seen, done)
	})
	require.NoError(t, err)
	require.Equal(t, 12, p.Rows)
	require.Len(t, seen, 12)
	require.Len(t, p.Accuracy, 4)
	require.Len(t, p.Against, 3)
	require.Equal(t, "blend", p.Strategy)
	require.Zero(t, p.Folds)
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
	again, err := Prove(t.Context(), d, c, Options{}, nil)
	require.NoError(t, err)
	again.Seconds = p.Seconds
	require.Equal(t, p, again)

	few := labelled(t)
	few.Examples = few.Examples[:3]
	_, err = Prove(t.Context(), d, create(t, d, few, Options{}), Options{}, nil)
	require.Equal(t, fault.ExitUsage, fault.Code(err))
	bare := labelled(t)
	for i := range bare.Examples {
		bare.Examples[i].Labelled, bare.Examples[i].Answer = false, ""
	}
	_, err = Prove(t.Context(), d, create(t, d, bare, Options{}), Options{}, nil)
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

// foldOf is the fold of c that leaves row i out, and its place in it; or nil.
func foldOf(c *Customisation, i int, oneByOne bool) (*fold, int) {
	for _, f := range c.folds(oneByOne) {
		if k := slices.Index(f.rows, i); k >= 0 {
			return &f, k
		}
	}
	return nil, 0
}

// Nothing of a fold but the row's own question hangs on the row left out: not
// on its label, and not on its text. That goes for the strategies, the choice
// among them, and all that they are fitted to.
func TestLeftOutRowTellsItsFoldNothing(t *testing.T) {
	d := tinydevice.Open(t)
	engine := deviceengine.New(d)
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				set := drawSet(rt, kind)
				opt := Options{Keep: rapid.IntRange(-1, 3).Draw(rt, "keep")}
				oneByOne := rapid.Bool().Draw(rt, "one by one")
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
				a, at := foldOf(remake(func(*examples.Example) {}), i, oneByOne)
				answer := rapid.SampledFrom([]string{"ant", "bee", "cat", "dog", "none", "newt"}).Draw(rt, "label")
				b, _ := foldOf(remake(func(e *examples.Example) { e.Answer = answer }), i, oneByOne)
				if a == nil || b == nil {
					return // nothing to choose from
				}
				same(rt, a, b)
				text := rapid.StringMatching("[a-z ]{1,20}[a-z]").Draw(rt, "text")
				other, _ := foldOf(remake(func(e *examples.Example) { e.Question, e.Context = text, "context" }), i, oneByOne)
				same(rt, a, other)
				if x, y := a.queries[at], other.queries[at]; !slices.Equal(x.Candidates, y.Candidates) || x.Gold != y.Gold {
					rt.Fatalf("a text changes the candidates: %v, %v", x.Candidates, y.Candidates)
				}
				// It runs the model, so only some draws are scored.
				if rapid.IntRange(0, 9).Draw(rt, "score") != 0 || !slices.Equal(a.queries[at].Candidates, b.queries[at].Candidates) {
					return
				}
				name := rapid.SampledFrom([]string{"blend", "shots5", "stack", strategy.Chosen, strategy.ChosenAccuracy}).Draw(rt, "strategy")
				score := func(f *fold) []float64 {
					s, err := f.score(t.Context(), strategy.NewMemo(engine), name)
					if err != nil {
						rt.Fatal(err)
					}
					return s[at]
				}
				if x, y := score(a), score(b); !slices.Equal(x, y) {
					rt.Fatalf("%s: %v, then %v", name, x, y)
				}
			})
		})
	}
}

// same tasks, and the same questions but for the row left out alone.
func same(t *rapid.T, a, b *fold) {
	if d := cmp.Diff(a.task, b.task); d != "" {
		t.Fatalf("what the fold is fitted to: %s", d)
	}
	if !slices.Equal(a.rows, b.rows) || !slices.Equal(a.rest, b.rest) {
		t.Fatalf("rows %v of %v, then %v of %v", a.rows, a.rest, b.rows, b.rest)
	}
}

func TestFolds(t *testing.T) {
	d := tinydevice.Open(t)
	c := create(t, d, labelled(t), Options{})
	for _, f := range c.folds(true) {
		require.Len(t, f.rows, 1)
		require.Len(t, f.rest, 11)
		require.Equal(t, []string{"east", "north", "south", "west"}, f.task.Labels)
		require.Equal(t, f.task.Labels, f.queries[0].Candidates)
		require.Equal(t, c.Examples[f.rows[0]].Answer, f.queries[0].Candidates[f.queries[0].Gold])
		require.NotContains(t, f.rest, f.rows[0])
	}
	var seen []int
	parts := c.folds(false)
	require.Len(t, parts, proofFolds)
	for _, f := range parts {
		seen = append(seen, f.rows...)
		require.Len(t, f.rest, 12-len(f.rows))
		require.NotNil(t, f.task.Labels)
	}
	slices.Sort(seen)
	require.Equal(t, c.all(), seen)

	// A label that only the left-out row gives is not known to its fold.
	c.Examples[5].Answer = "up"
	f, _ := foldOf(c, 5, true)
	require.Equal(t, -1, f.queries[0].Gold)
	require.NotContains(t, f.queries[0].Candidates, "up")
	f, _ = foldOf(c, 6, true)
	require.Contains(t, f.queries[0].Candidates, "up")

	// Labels that the user named stay as they are.
	c.Labels, c.Inferred = []string{"east", "north", "south", "up", "west"}, false
	f, _ = foldOf(c, 5, true)
	require.Equal(t, 3, f.queries[0].Gold)

	// Without labels the others' answers are the wrong choices, and the right
	// one's place tells nothing.
	c.Labels = nil
	for i := range c.Examples {
		c.Examples[i].Answer = fmt.Sprint("answer ", i)
	}
	f, _ = foldOf(c, 0, true)
	require.Nil(t, f.task.Labels)
	require.True(t, f.task.Writes)
	q := f.queries[0]
	require.Len(t, q.Candidates, maxFree+1)
	require.Equal(t, "answer 0", q.Candidates[q.Gold])
	require.IsIncreasing(t, q.Candidates)
}

// The whole way to a chosen customisation: better or kept, stored, proved with
// the choice made anew in every fold.
func TestImprove(t *testing.T) {
	d := tinydevice.Open(t)
	c := create(t, d, labelled(t), Options{})
	same, err := Improve(t.Context(), d, c, Options{}, nil)
	require.NoError(t, err)
	require.Same(t, c, same, "no time, no search")

	opt := Options{Time: 20 * time.Second}
	steps := 0
	better, err := Improve(t.Context(), d, c, opt, func(done, total int) { steps = total })
	require.NoError(t, err)
	require.Equal(t, strategy.Chosen, better.Method.Strategy)
	require.Equal(t, steps, len(better.Plan.Rated))
	require.NotEmpty(t, better.Plan.Why)
	require.Equal(t, better.Plan.Strategy, better.Strategy)
	require.Equal(t, "blend", c.Strategy, "the first one is as it was")
	again, err := Improve(t.Context(), d, c, opt, nil)
	require.NoError(t, err)
	require.True(t, better.Same(again))
	p, err := Prove(t.Context(), d, better, Options{}, nil)
	require.NoError(t, err)
	require.Equal(t, strategy.Chosen, p.Strategy)
	require.Equal(t, proofFolds, p.Folds)
	require.Equal(t, 12, p.Rows)
	require.Equal(t, "blend", p.Against[3].Rival)

	stacked, err := Improve(t.Context(), d, c, Options{Strategy: "stack"}, nil)
	require.NoError(t, err)
	require.Equal(t, "stack", stacked.Strategy)
	require.False(t, stacked.Same(c))
	require.Equal(t, c.Kept, stacked.Kept, "free text is the blend's")
	data, err := stacked.Marshal()
	require.NoError(t, err)
	read, err := Unmarshal("mine", data)
	require.NoError(t, err)
	require.True(t, stacked.Same(read))
	dir := c.Examples[0].Direction
	for _, x := range []*Customisation{stacked, read} {
		q, err := x.Query(t.Context(), d, "where is it", "", nil, dir)
		require.NoError(t, err)
		require.True(t, q.Chooses())
		probs, err := q.Choose(t.Context())
		require.NoError(t, err)
		require.Len(t, probs, 4)
		sum := 0.0
		for _, p := range probs {
			sum += p
		}
		require.InDelta(t, 1, sum, 1e-9)
		q.Close()
	}

	_, err = Improve(t.Context(), d, c, Options{Strategy: "luck"}, nil)
	require.Equal(t, fault.ExitUsage, fault.Code(err))
	free := labelled(t)
	free.Labels, free.Inferred = nil, false
	for i := range free.Examples {
		free.Examples[i].Choices = nil
	}
	_, err = Improve(t.Context(), d, create(t, d, free, Options{}), Options{Strategy: "stack"}, nil)
	require.Equal(t, fault.ExitUsage, fault.Code(err))
	base, err := Improve(t.Context(), d, c, Options{Strategy: "base"}, nil)
	require.NoError(t, err)
	row, err := base.Bind(t.Context(), d)
	require.NoError(t, err)
	require.Nil(t, row)
	shown, err := Improve(t.Context(), d, c, Options{Strategy: "shots5"}, nil)
	require.NoError(t, err)
	q, err := shown.Query(t.Context(), d, "where is it", "", nil, dir)
	require.NoError(t, err)
	defer q.Close()
	require.Len(t, q.Shots, 5)
	require.False(t, q.Chooses())
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

// Questions that each have choices of their own are picked for as labels are: by
// a stack, which is proved on the rows' own choices; without choices free text is
// the blend's.
func TestChoicesAreChosen(t *testing.T) {
	d := tinydevice.Open(t)
	var b strings.Builder
	b.WriteString("question,answer,choices\n")
	for i := range 8 {
		fmt.Fprintf(&b, "what is %s for,use %d,use %d|part %d|none\n", strings.Repeat("x", i+1), i, i, i)
	}
	set, err := examples.Parse("mine.csv", strings.NewReader(b.String()), examples.Options{})
	require.NoError(t, err)
	require.Nil(t, set.Labels)
	c := create(t, d, set, Options{Strategy: "stack"}) // is of use, so no error
	require.False(t, c.Task().Writes)
	c, err = Improve(t.Context(), d, c, Options{Strategy: "stack"}, nil)
	require.NoError(t, err)
	require.Equal(t, "stack", c.Strategy)
	p, err := Prove(t.Context(), d, c, Options{}, nil)
	require.NoError(t, err)
	require.Equal(t, 8, p.Rows)
	counted, err := c.CountPrompts(d.Pool, &d.Form)
	require.NoError(t, err)
	require.Greater(t, counted.Asks, 1.0, "a stack asks several prompts of a question with choices")

	dir := c.Examples[0].Direction
	q, err := c.Query(t.Context(), d, "what is it for", "", []string{"to sit", "to stand"}, dir)
	require.NoError(t, err)
	defer q.Close()
	require.True(t, q.Chooses())
	probs, err := q.Choose(t.Context())
	require.NoError(t, err)
	require.Len(t, probs, 2)
	require.InDelta(t, 1, probs[0]+probs[1], 1e-9)
	free, err := c.Query(t.Context(), d, "what is it for", "", nil, dir)
	require.NoError(t, err)
	defer free.Close()
	require.False(t, free.Chooses())

	// One row without choices, and answers are written.
	set.Examples[3].Choices = nil
	_, err = Make(t.Context(), d, "mine", set, Options{Strategy: "stack"})
	require.Equal(t, fault.ExitUsage, fault.Code(err))

	// Of a label task's labels some may be asked for; others are another task's,
	// and the prompt does not list the labels.
	c = create(t, d, labelled(t), Options{})
	some, err := c.Query(t.Context(), d, "where is it", "", []string{"south", "north"}, dir)
	require.NoError(t, err)
	defer some.Close()
	require.Equal(t, c.Labels, some.Labels())
	other, err := c.Query(t.Context(), d, "where is it", "", []string{"south", "up"}, dir)
	require.NoError(t, err)
	defer other.Close()
	require.Nil(t, other.Labels())
}
