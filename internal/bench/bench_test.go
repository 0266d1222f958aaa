package bench

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/fault"
	"crayon/internal/qa"
	"crayon/internal/strategy"
)

func options() Options {
	o := DefaultOptions()
	o.Resamples = 200
	o.Provenance = Provenance{"quiz": {""}, "desk": {"bills"}}
	return o
}

func TestUsers(t *testing.T) {
	p, err := Users(context.Background(), town(t), Selection{Seed: 1}, options().Provenance)
	require.NoError(t, err)
	type shape struct {
		Name            string
		Reserve, Scored int
		Labels          []string
		Constant        bool
		Group           Group
	}
	var got []shape
	for _, u := range p.Users {
		got = append(got, shape{u.Name, len(u.reserve), len(u.scored), u.Labels, u.Constant, u.Group})
	}
	labels := []string{"c0", "c1", "c2"}
	require.Empty(t, cmp.Diff([]shape{
		{"desk/bills", 64, 70, labels, false, Seen},
		{"desk/rest", 16, 54, labels, false, NewSubject},
		{"desk/trips", 64, 70, labels, false, NewSubject},
		{"odd", 30, 60, nil, true, NewDataset},
		{"quiz", 64, 70, nil, false, Seen},
	}, got))
	require.Contains(t, strings.Join(p.Notes, "\n"), "tiny left out: 59 different rows")
}

func TestProvenance(t *testing.T) {
	p := ProvenanceOf([]qa.Count{{Dataset: "boolq", Subjects: []string{""}}, {Dataset: "mmlu", Subjects: []string{"law"}}})
	require.Equal(t, Seen, p.group("boolq", []string{""}))
	require.Equal(t, Seen, p.group("mmlu", []string{"art", "law"}), "one part seen is seen")
	require.Equal(t, NewSubject, p.group("mmlu", []string{"art"}))
	require.Equal(t, Related, p.group("pubmedqa", []string{""}), "its family was trained on")
	require.Equal(t, NewDataset, p.group("figqa", []string{""}))
	require.Equal(t, NewDataset, Provenance(nil).group("boolq", []string{""}))
}

// At every k no example is scored, by position or by content, and the scored
// rows do not change with k or with how many are asked for.
func TestExamplesAreNeverScored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(MinRows, 200).Draw(t, "rows")
		questions := rapid.IntRange(MinRows, 200).Draw(t, "distinct questions")
		var rows []qa.Row
		for i := range n {
			rows = append(rows, qa.Row{Dataset: "d", ID: fmt.Sprint(i), Question: fmt.Sprint(i % questions), Choices: []string{"a", "b"}})
		}
		sel := Selection{Seed: rapid.Uint64().Draw(t, "seed"), Rows: rapid.IntRange(1, 300).Draw(t, "scored")}
		p := &Population{}
		p.add("d", slices.Clone(rows), sel)
		if len(p.all) == 0 {
			if min(n, questions) >= MinRows {
				t.Fatal("no user of enough rows")
			}
			return
		}
		u := p.all[0]
		for i := range 4 * MaxDraws {
			k, draw := []int{0, 4, 16, 64}[i%4], i/4
			shown := map[[32]byte]bool{}
			for _, ex := range u.Examples(k, draw) {
				shown[ex.Content()] = true
			}
			if len(shown) != len(u.Examples(k, draw)) || len(shown) > k {
				t.Fatalf("%d examples of %d contents at k = %d", len(u.Examples(k, draw)), len(shown), k)
			}
			for _, r := range u.Scored() {
				if shown[r.Content()] {
					t.Fatalf("row %s is an example and scored", r.ID)
				}
			}
		}
		if len(u.Scored()) == 0 || len(u.Scored()) > sel.Rows || len(u.reserve) < fewestShots {
			t.Fatalf("%d examples, %d scored", len(u.reserve), len(u.Scored()))
		}
		again := &Population{}
		again.add("d", slices.Clone(rows), Selection{Seed: sel.Seed, Rows: 1})
		if again.all[0].scored[0].ID != u.scored[0].ID {
			t.Fatal("the first scored row depends on how many are scored")
		}
	})
}

func TestSelection(t *testing.T) {
	ctx, d := context.Background(), town(t)
	pick := func(s Selection) []string {
		s.Seed = 1
		p, err := Users(ctx, d, s, nil)
		require.NoError(t, err)
		return names(p.Users)
	}
	require.Equal(t, []string{"desk/trips", "quiz"}, pick(Selection{Datasets: []string{"quiz", "desk/trips"}}))
	three := pick(Selection{Users: 3})
	require.Len(t, three, 3)
	sets := map[string]bool{}
	for _, n := range three {
		set, _, _ := strings.Cut(n, "/")
		sets[set] = true
	}
	require.Len(t, sets, 3, "a few users cover many data sets: %v", three)
	four := pick(Selection{Users: 4})
	for _, n := range three {
		require.Contains(t, four, n, "a larger limit only adds users")
	}
	_, err := Users(ctx, d, Selection{Datasets: []string{"desk/cards"}}, nil)
	require.ErrorContains(t, err, "desk/cards")
	require.Contains(t, fault.Hint(err), "desk/rest")
}

func TestStranger(t *testing.T) {
	d := folder(t, place{dataset: "boolq", rows: 100}, place{dataset: "strategyqa", rows: 100},
		place{dataset: "figqa", rows: 100})
	p, err := Users(context.Background(), d, Selection{}, nil)
	require.NoError(t, err)
	for seed := range uint64(20) {
		require.Equal(t, "figqa", p.stranger(p.Users[0], seed).Name, "not of the same family")
	}
	p.all = p.all[:1:1]
	require.Nil(t, p.stranger(p.Users[0], 1))
}

func TestRun(t *testing.T) {
	o := options()
	last := Progress{}
	o.Progress = func(p Progress) {
		require.GreaterOrEqual(t, p.Done, last.Done)
		last = p
	}
	e := newToy()
	rep, sheets, err := Run(context.Background(), town(t), e, o)
	require.NoError(t, err)
	require.Equal(t, last.Total, last.Done)
	require.Equal(t, inOrder(short), rep.Settings.Strategies)
	require.Equal(t, 5*len(short), last.Total)
	require.Equal(t, 5, rep.Users)
	require.Equal(t, 324, rep.Rows)
	require.Len(t, sheets, 5)

	m := rep.Macro
	require.InDelta(t, 1.0/3, m["chance"].Accuracy, 1e-6)
	require.InDelta(t, 0, m["chance"].AboveChance, 1e-6)
	require.Greater(t, m["blend"].Accuracy, m["base"].Accuracy+0.1, "the toy's skill shows")
	require.Greater(t, m["single"].Accuracy, m["base"].Accuracy)
	require.Greater(t, rep.Groups[Seen].Differences["blend-swapped"].Low, 0.0)
	require.Greater(t, rep.Groups[Seen].Differences["blend-swapped"].WinRate, 0.9)
	require.Nil(t, rep.Differences["blend-majority"].P, "a blind guess has no exact test")
	require.NotNil(t, rep.Differences["blend-base"].P)
	// two of three answers of a label user are c1; odd and quiz have no label set
	require.InDelta(t, 2.0/3, rep.ByUser["desk/bills"].Accuracy["majority"], 0.15)
	require.InDelta(t, 1.0/3, rep.ByUser["quiz"].Accuracy["majority"], 1e-6)
	require.Contains(t, strings.Join(rep.Notes, "\n"), "majority is chance in 2 of 5 cases")

	require.Equal(t, 3, rep.Groups[LeftOut].Users)
	require.Equal(t, 2, rep.Groups[Seen].Users)
	require.Equal(t, 4, rep.Groups["all_varied"].Users)
	require.Equal(t, 2, rep.Groups["left_out_varied"].Users)
	require.NotContains(t, rep.Groups, Group("seen_varied"), "the same users as seen")
	require.Equal(t, 3, rep.ByDataset["desk"].Users)
	require.Equal(t, 3, rep.WorseUsers["single"].Tested, "users of 70 rows")
	for user, other := range rep.Swaps {
		require.NotEqual(t, rep.ByUser[user].Dataset, rep.ByUser[other].Dataset)
	}
	require.Len(t, rep.ChosenByUser["chosen"], 5)
	require.NoError(t, rep.Verify(sheets))
	require.Equal(t, 54, rep.ByUser["desk/rest"].Rows)
	require.Positive(t, rep.Timing["blend"].Tokens)
	require.Equal(t, 5, rep.Timing["chosen"].Fits)
	require.NotEmpty(t, rep.Samples)
	require.Equal(t, uint64(7), sheets[0].Train)
}

// The scored rows are the same at every k and draw, and what needs no examples
// scores them alike; more examples make the toy's blend no other.
func TestShotsAndDraws(t *testing.T) {
	o := options()
	o.Shots, o.Draws, o.Strategies = []int{0, 4, 16}, 3, []string{"base", "majority", "blend", "shots5"}
	rep, sheets, err := Run(context.Background(), town(t), newToy(), o)
	require.NoError(t, err)
	require.Len(t, sheets, 5*3*3)
	first := map[string]*Sheet{}
	for i := range sheets {
		s := &sheets[i]
		if first[s.User] == nil {
			first[s.User] = s
		}
		require.Equal(t, first[s.User].IDs, s.IDs)
		require.Equal(t, first[s.User].Picks["base"], s.Picks["base"])
	}
	require.Equal(t, 16, rep.Headline)
	require.Equal(t, 3, rep.Draws)
	require.Equal(t, []string{"0", "4", "16"}, rep.shots())
	require.InDelta(t, 1.0/3, rep.ByShots["0"][all]["majority"].Accuracy, 1e-6)
	require.Greater(t, rep.ByShots["16"][all]["blend"].Accuracy, rep.ByShots["0"][all]["blend"].Accuracy)
	require.Equal(t, rep.Macro, rep.ByShots["16"][all])
	require.NoError(t, rep.Verify(sheets))
}

// No engine is ever told a scored row's answer, or asked the same thing twice
// for one user.
func TestAsksAreShared(t *testing.T) {
	e, o := newToy(), options()
	o.Datasets = []string{"quiz"}
	o.Strategies = []string{"base", "pmi", "blend", "mix"}
	_, _, err := Run(context.Background(), town(t), e, o)
	require.NoError(t, err)
	seen := map[askKey]bool{}
	for _, call := range e.calls {
		for i := range call {
			k := keyOf(&call[i])
			require.False(t, seen[k], "asked twice: %q under %v", call[i].Text, call[i].Members)
			seen[k] = true
		}
	}
}

// A strategy's cost does not depend on what ran before it.
func TestKnownScoresAreCharged(t *testing.T) {
	tokens := func(names ...string) float64 {
		o := options()
		o.Strategies = names
		rep, _, err := Run(context.Background(), town(t), newToy(), o)
		require.NoError(t, err)
		return rep.Timing["mix"].Tokens
	}
	require.InEpsilon(t, tokens("mix"), tokens("base", "shared", "blend", "mix"), 0.01)
}

func TestRivals(t *testing.T) {
	o := options()
	o.Strategies = []string{"chance", "knn", "probe", "choices_only", "pmi", "base"}
	rep, _, err := Run(context.Background(), town(t), newToy(), o)
	require.NoError(t, err)
	// The toy's direction tells the data set alone: neighbours' labels are as good as drawn, and nobody's choices are another row's.
	require.InDelta(t, 1.0/3, rep.ByUser["quiz"].Accuracy["knn"], 1e-6)
	require.InDelta(t, 1.0/3, rep.ByUser["quiz"].Accuracy["probe"], 1e-6)
	require.InDelta(t, 2.0/3, rep.ByUser["desk/bills"].Accuracy["probe"], 0.15, "the majority's label")
	require.InDelta(t, 1.0/3, rep.Macro["choices_only"].Accuracy, 0.15)
	require.NotEqual(t, rep.Macro["pmi"], rep.Macro["base"])
}

// The probe separates what a line separates, and a label that no example has
// is never its choice.
func TestProbe(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	row := func(label int) strategy.Row {
		d := []float32{0, 0, 0, float32(rng.NormFloat64()) / 4}
		d[label] = 1
		return strategy.Row{Candidates: []string{"x", "y", "z"}, Gold: label, Direction: d}
	}
	b := &bout{task: strategy.Task{Labels: []string{"x", "y", "z"}}}
	for i := range 12 {
		b.task.Rows = append(b.task.Rows, row(i%2))
	}
	for i := range 30 {
		b.rows = append(b.rows, row(i%3))
	}
	res, err := probed(context.Background(), nil, b)
	require.NoError(t, err)
	for i, p := range res.picks {
		if i%3 < 2 {
			require.Equal(t, i%3, p, "row %d", i)
		} else {
			require.NotEqual(t, 2, p)
		}
	}
}

func TestRunIsDeterministic(t *testing.T) {
	d := town(t)
	run := func(scores bool) (*Report, []byte) {
		o := options()
		o.Scores, o.Draws = scores, 2
		rep, sheets, err := Run(context.Background(), d, newToy(), o)
		require.NoError(t, err)
		var raw bytes.Buffer
		require.NoError(t, WriteRaw(&raw, sheets))
		rep.Timing, rep.Environment = nil, Environment{}
		return rep, raw.Bytes()
	}
	a, rawA := run(true)
	b, rawB := run(true)
	c, rawC := run(false)
	require.Empty(t, cmp.Diff(a, b))
	require.Empty(t, cmp.Diff(a, c))
	require.Equal(t, rawA, rawB)
	require.Less(t, len(rawC), len(rawA))
}

func TestRunFaults(t *testing.T) {
	d := town(t)
	for name, c := range map[string]struct {
		change func(*toy, *Options)
		want   string
	}{
		"engine fails":  {func(e *toy, _ *Options) { e.err = errToy }, "toy broke"},
		"a row missing": {func(e *toy, _ *Options) { e.bad = func(s [][]strategy.Score) [][]strategy.Score { return s[1:] } }, "less than it was asked"},
		"a choice missing": {func(e *toy, _ *Options) {
			e.bad = func(s [][]strategy.Score) [][]strategy.Score { s[3] = s[3][1:]; return s }
		}, "every choice"},
		"not a number": {func(e *toy, _ *Options) {
			e.bad = func(s [][]strategy.Score) [][]strategy.Score { s[3][0].Sum = math.NaN(); return s }
		}, "not a number"},
		"infinite": {func(e *toy, _ *Options) {
			e.bad = func(s [][]strategy.Score) [][]strategy.Score { s[3][0].Sum = math.Inf(-1); return s }
		}, "not a number"},
		"unknown strategy":  {func(_ *toy, o *Options) { o.Strategies = []string{"blnd"} }, `no strategy "blnd"`},
		"strategy twice":    {func(_ *toy, o *Options) { o.Strategies = []string{"base", "base"} }, "twice"},
		"no baseline":       {func(e *toy, o *Options) { e.pool.Baseline = nil; o.Strategies = []string{"single"} }, "no baseline single"},
		"too many examples": {func(_ *toy, o *Options) { o.Shots = []int{65} }, "shots is 65"},
		"shots twice":       {func(_ *toy, o *Options) { o.Shots = []int{4, 4} }, "twice"},
		"no shots":          {func(_ *toy, o *Options) { o.Shots = nil }, "empty"},
		"draws":             {func(_ *toy, o *Options) { o.Draws = 4 }, "seeds is 4"},
		"no rows":           {func(_ *toy, o *Options) { o.Rows = 0 }, "rows is 0"},
		"few resamples":     {func(_ *toy, o *Options) { o.Resamples = 1 }, "resamples is 1"},
		"users below 0":     {func(_ *toy, o *Options) { o.Users = -1 }, "users is -1"},
		"no such group":     {func(_ *toy, o *Options) { o.Groups = []string{"old"} }, `no group "old"`},
		"an empty group":    {func(_ *toy, o *Options) { o.Groups = []string{"related"} }, "these groups"},
	} {
		t.Run(name, func(t *testing.T) {
			e, o := newToy(), options()
			c.change(e, &o)
			_, _, err := Run(context.Background(), d, e, o)
			require.ErrorContains(t, err, c.want)
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := newToy()
	e.stop = cancel
	_, _, err := Run(ctx, d, e, options())
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, e.calls, 3, "nothing is scored after the end")
}

func TestWhatLacksIsNoted(t *testing.T) {
	e, o := newToy(), options()
	e.pool.Baseline = nil
	rep, _, err := Run(context.Background(), folder(t, place{dataset: "quiz", rows: 100}), e, o)
	require.NoError(t, err)
	require.NotContains(t, rep.Settings.Strategies, "single")
	require.NotContains(t, rep.Settings.Strategies, "swapped")
	notes := strings.Join(rep.Notes, "\n")
	require.Contains(t, notes, "single left out")
	require.Contains(t, notes, "swapped left out: there is one user only")
}

// Everything that the registry has runs on an engine that only scores, or is
// said to be left out.
func TestFull(t *testing.T) {
	o := options()
	o.Full, o.Datasets, o.Elsewhere, o.Generate = true, []string{"quiz", "desk/bills"}, must(Chat()), true
	o.Dump = new(bytes.Buffer)
	rep, sheets, err := Run(context.Background(), town(t), newToy(), o)
	require.NoError(t, err)
	for _, name := range Strategies() {
		if !slices.Contains(rep.Settings.Strategies, name) {
			require.Contains(t, strings.Join(rep.Notes, "\n"), name+" left out")
		}
	}
	require.NoError(t, rep.Verify(sheets))
	var page bytes.Buffer
	require.NoError(t, rep.WriteHTML(&page))
	require.NotContains(t, page.String(), "http", "the page needs nothing else")
	require.Contains(t, page.String(), "<svg")

	users := map[string]int{}
	err = strategy.ReadObserved("dump", o.Dump.(*bytes.Buffer), func(row *strategy.Observed) error {
		users[row.User]++
		require.Equal(t, 16, row.Examples)
		require.Contains(t, row.Scores, "blend")
		require.NotContains(t, row.Scores, "pmi")
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"quiz, k = 16, draw 0": 70, "desk/bills, k = 16, draw 0": 70}, users)
}

func must[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

func TestGenerate(t *testing.T) {
	d := folder(t, place{dataset: "quiz", rows: 100}, place{dataset: "desk", rows: 100, labels: true}, place{dataset: "gsm8k", rows: 80, free: true})
	o := options()
	o.Generate, o.Elsewhere = true, must(Chat())
	o.Strategies = []string{"base", "blend"}
	rep, sheets, err := Run(context.Background(), d, newToy(), o)
	require.NoError(t, err)
	require.Equal(t, 2, rep.Users, "gsm8k has no choices")
	require.Len(t, sheets, 3)
	require.Equal(t, 3, rep.Said[all]["blend"].Users)
	require.InDelta(t, 1, rep.Said[all]["blend"].Accuracy, 1e-6)
	require.InDelta(t, 0, rep.Said[all]["base"].Accuracy, 1e-6)
	require.NoError(t, rep.Verify(sheets))
	require.Equal(t, 2, rep.Elsewhere["blend"].Users)
	require.Greater(t, rep.Elsewhere["base"].Perplexity, 1.0)
	require.NotEmpty(t, rep.Chats)
}

func TestNormal(t *testing.T) {
	require.Equal(t, normal("The  North-East!"), normal("northeast"))
	require.NotEqual(t, normal("yes"), normal("no"))
	for text, want := range map[string]string{"so it is 1,234.50 dollars": "1234.5", "#### -7": "-7", "none": "", "3 or 4.": "4", "12.0": "12", "0": "0"} {
		require.Equal(t, want, finalNumber(text), text)
	}
}

// hand makes a sheet from accuracies: right of rows.
func hand(user, dataset string, choices int, right map[string]int, rows int) []Sheet {
	s := Sheet{Dataset: dataset, User: user, Group: Seen, Shots: 16, Picks: map[string][]int{}}
	for i := range rows {
		s.IDs, s.Choices, s.Answers = append(s.IDs, fmt.Sprint(i)), append(s.Choices, choices), append(s.Answers, 1)
		s.Picks["chance"] = append(s.Picks["chance"], guess)
		for name, n := range right {
			pick := 0
			if i < n {
				pick = 1
			}
			s.Picks[name] = append(s.Picks[name], pick)
		}
	}
	return []Sheet{s}
}

func TestMacroByHand(t *testing.T) {
	var sheets []Sheet
	sheets = append(sheets, hand("a/x", "a", 2, map[string]int{"base": 5, "blend": 8}, 10)...)
	sheets = append(sheets, hand("a/y", "a", 2, map[string]int{"base": 1, "blend": 1}, 4)...)
	sheets = append(sheets, hand("b", "b", 4, map[string]int{"base": 60, "blend": 30}, 100)...)
	f := Summarise(sheets, 1, 200)
	// base: ((5/10 + 1/4)/2 + 60/100)/2; blend: ((8/10 + 1/4)/2 + 30/100)/2
	require.InDelta(t, 0.4875, f.Macro["base"].Accuracy, 1e-6)
	require.InDelta(t, 0.4125, f.Macro["blend"].Accuracy, 1e-6)
	// chance 1/2, 1/2, 1/4: base ((0 - 0.5)/2 + 0.35/0.75)/2
	require.InDelta(t, (-0.25+0.35/0.75)/2, f.Macro["base"].AboveChance, 1e-6)
	require.InDelta(t, 0.375, f.Macro["chance"].Accuracy, 1e-6)
	d := f.Differences["blend-base"]
	require.InDelta(t, -0.075, d.Difference, 1e-6)
	require.Equal(t, Tally{1, 1, 1}, d.Users)
	require.InDelta(t, 0.5, d.WinRate, 1e-6)
	require.Equal(t, Tally{3, 30, 81}, d.Rows)
	require.Equal(t, Worse{Tested: 1, Significant: []string{"b"}, Below: []string{"b"}}, *f.WorseUsers["blend"])
	require.InDelta(t, (0.525+0)/1, f.ByDataset["a"].Macro["blend"].Accuracy, 1e-6)
}

// Draws and trainings of one user are repeats of it, not users.
func TestRepeats(t *testing.T) {
	var sheets []Sheet
	for i, right := range []int{10, 20, 30, 40} {
		s := hand("u", "d", 2, map[string]int{"base": 25, "blend": right}, 50)[0]
		s.Train, s.Draw = uint64(i/2), i%2
		sheets = append(sheets, s)
	}
	f := Summarise(sheets, 1, 2000)
	require.Equal(t, 1, f.Users)
	require.Equal(t, 50, f.Rows)
	require.Equal(t, 2, f.Draws)
	require.InDelta(t, 0.5, f.Macro["blend"].Accuracy, 1e-6)
	// Between trainings 0.3 and 0.7: the interval of blend must hold both, that of base need not.
	require.Less(t, f.Macro["blend"].Low, 0.3)
	require.Greater(t, f.Macro["blend"].High, 0.7)
	require.Greater(t, f.Macro["base"].Low, 0.3)
	require.Equal(t, Tally{0, 15, 35}, f.Differences["blend-base"].Rows, "of the first draw")
}

// Compared run by run, rows are paired; other rows are refused.
func TestCompare(t *testing.T) {
	a, b := hand("u", "d", 2, map[string]int{"blend": 40}, 100), hand("u", "d", 2, map[string]int{"blend": 60}, 100)
	d, err := Compare(a, b, "blend", 1, 500)
	require.NoError(t, err)
	require.InDelta(t, 0.2, d[all].Difference, 1e-6)
	require.InDelta(t, 0.2, d[Seen].Difference, 1e-6)
	require.Greater(t, d[Seen].Low, 0.1, "paired")
	require.Equal(t, Tally{20, 0, 80}, d[all].Rows)
	none, err := Compare(a, a, "blend", 1, 500)
	require.NoError(t, err)
	require.Zero(t, none[all].High)
	for _, other := range [][]Sheet{nil, hand("v", "d", 2, map[string]int{"blend": 1}, 100), hand("u", "d", 2, map[string]int{"blend": 1}, 99), hand("u", "d", 2, map[string]int{"base": 1}, 100)} {
		_, err := Compare(a, other, "blend", 1, 500)
		require.Error(t, err)
	}
	_, err = Compare(nil, a, "blend", 1, 500)
	require.Error(t, err)
	_, err = Compare(a, a, "base", 1, 500)
	require.Error(t, err)
}

func TestMcNemar(t *testing.T) {
	for _, c := range []struct {
		wins, losses int
		want         float64
	}{
		{0, 0, 1}, {0, 5, 1}, {1, 0, 0.5}, {5, 0, 1.0 / 32}, {1, 1, 0.75}, {8, 2, 56.0 / 1024}, {9, 1, 11.0 / 1024},
		{10, 10, 0.5880985260009766}, {100, 0, math.Pow(0.5, 100)},
	} {
		require.InEpsilon(t, c.want, McNemar(c.wins, c.losses), 1e-9, "%d/%d", c.wins, c.losses)
	}
	rapid.Check(t, func(t *rapid.T) {
		w, l := rapid.IntRange(0, 40).Draw(t, "wins"), rapid.IntRange(0, 40).Draw(t, "losses")
		want := 0.0
		for k := w; k <= w+l; k++ {
			lg := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
			want += math.Exp(lg(w+l) - lg(k) - lg(w+l-k) - float64(w+l)*math.Ln2)
		}
		if got := McNemar(w, l); math.Abs(got-want) > 1e-9 {
			t.Fatalf("%g, the sum is %g", got, want)
		}
	})
}

// Intervals hold the point, lie in [0, 1], and do not depend on the order of
// the records; a strategy against itself differs by nothing.
func TestIntervals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sheets []Sheet
		for u := range rapid.IntRange(1, 6).Draw(t, "users") {
			set := fmt.Sprint("d", rapid.IntRange(0, 2).Draw(t, "set"))
			choices := rapid.IntRange(2, 5).Draw(t, "choices")
			rows := rapid.IntRange(5, 30).Draw(t, "rows")
			for draw := range rapid.IntRange(1, 3).Draw(t, "draws") {
				s := hand(fmt.Sprint(set, "/", u), set, choices, nil, rows)[0]
				s.Draw = draw
				picks := func(name string) []int { return rapid.SliceOfN(rapid.IntRange(0, choices-1), rows, rows).Draw(t, name) }
				s.Picks["base"] = picks("base")
				s.Picks["single"], s.Picks["blend"] = s.Picks["base"], picks("blend")
				sheets = append(sheets, s)
			}
		}
		f := Summarise(sheets, 3, 300)
		for s, m := range f.Macro {
			if m.Low > m.Accuracy+1e-9 || m.High < m.Accuracy-1e-9 || m.Low < 0 || m.High > 1 {
				t.Fatalf("%s: %+v", s, m)
			}
		}
		for s, d := range f.Differences {
			if d.Low > d.Difference+1e-9 || d.High < d.Difference-1e-9 {
				t.Fatalf("%s: %+v", s, d)
			}
		}
		if d := f.Differences["single-base"]; d.Low != 0 || d.High != 0 || d.Users.Ties != f.Users {
			t.Fatalf("a strategy against itself: %+v", d)
		}
		other := Summarise(rapid.Permutation(sheets).Draw(t, "order"), 3, 300)
		if diff := cmp.Diff(f, other); diff != "" {
			t.Fatal(diff)
		}
	})
}

// The interval of one user's accuracy is near the binomial one, and pairing
// narrows a difference of two strategies that mostly agree.
func TestBootstrapWidth(t *testing.T) {
	f := Summarise(hand("d", "d", 4, map[string]int{"base": 200, "blend": 220}, 400), 1, 2000)
	se := math.Sqrt(0.25 / 400)
	require.InDelta(t, 2*1.96*se, f.Macro["base"].High-f.Macro["base"].Low, 0.012)
	d := f.Differences["blend-base"]
	require.InDelta(t, 2*1.96*math.Sqrt(0.05*0.95/400), d.High-d.Low, 0.006)
}

func TestRawRoundTrip(t *testing.T) {
	o := options()
	o.Scores, o.Draws = true, 2
	rep, sheets, err := Run(context.Background(), town(t), newToy(), o)
	require.NoError(t, err)
	dir := t.TempDir()
	out, raw := filepath.Join(dir, "r.json"), filepath.Join(dir, "raw", "r.jsonl.gz")
	require.NoError(t, rep.Keep(raw, out, sheets))
	require.Equal(t, "raw/r.jsonl.gz", rep.Raw)
	text, err := json.Marshal(rep)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(out, text, 0o644))
	read, back, err := ReadReport(out)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(sheets, back))
	require.NoError(t, read.Verify(back), "the published report follows from the published rows")
	for _, key := range []string{`"macro"`, `"by_dataset"`, `"by_user"`, `"by_shots"`, `"differences"`, `"groups"`, `"settings"`, `"digests"`, `"worse_users"`, `"chosen_by_user"`} {
		require.Contains(t, string(text), key)
	}

	// An altered figure, wherever it is, an altered row and an altered file are all found.
	high := &read.Groups[Seen].Macro["blend"].High
	was := *high
	*high -= 1e-6
	err = read.Verify(back)
	require.ErrorContains(t, err, "groups.seen.macro.blend.high")
	require.Equal(t, fault.ExitVerify, fault.Code(err))
	*high = was
	read.WorseUsers["blend"].Below = append(read.WorseUsers["blend"].Below, "nobody")
	require.ErrorContains(t, read.Verify(back), "worse_users.blend.below")
	read, back, err = ReadReport(out)
	require.NoError(t, err)
	back[0].Answers[0] = (back[0].Answers[0] + 1) % back[0].Choices[0]
	require.Error(t, read.Verify(back))
	require.Error(t, read.Verify(nil))
	data, err := os.ReadFile(raw)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(raw, data[:len(data)-1], 0o644))
	_, _, err = ReadReport(out)
	require.ErrorContains(t, err, "sha256")
	_, err = ReadRaw("raw", bytes.NewReader(data[:len(data)/2]))
	require.Error(t, err)
}

// Each data set comes from the run that left it out; runs of other seeds are
// repeats; what does not belong together is refused.
func TestMerge(t *testing.T) {
	dir := t.TempDir()
	d := folder(t, place{dataset: "boolq", rows: 140}, place{dataset: "winogrande", rows: 150})
	run := func(name string, seed uint64, trained string, change func(*Options)) string {
		e, o := newToy(), options()
		e.pool.Made.Seed = seed
		o.Provenance = Provenance{trained: {""}}
		o.Digests = map[string]string{"model": "m", "pool": name}
		o.Strategies = []string{"base", "single", "blend"}
		change(&o)
		rep, sheets, err := Run(context.Background(), d, e, o)
		require.NoError(t, err)
		out := filepath.Join(dir, name+".json")
		require.NoError(t, rep.Keep(filepath.Join(dir, "raw", name+".gz"), out, sheets))
		text, err := json.Marshal(rep)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(out, text, 0o644))
		return out
	}
	same := func(*Options) {}
	a, b := run("a", 1, "winogrande", same), run("b", 1, "boolq", same)
	rep, sheets, err := Merge([]string{a, b}, NewDataset)
	require.NoError(t, err)
	require.Equal(t, 2, rep.Users)
	require.Equal(t, []Input{{"a.json", rep.Inputs[0].Digests, []string{"boolq"}}, {"b.json", rep.Inputs[1].Digests, []string{"winogrande"}}}, rep.Inputs)
	require.Equal(t, "b", rep.Inputs[1].Digests["pool"])
	require.Equal(t, 1, rep.Groups[Tuning].Users, "boolq's fold")
	require.Equal(t, 1, rep.Groups[Reported].Users)
	require.NoError(t, rep.Verify(sheets))
	require.Positive(t, rep.Timing["blend"].Queries)

	again, _, err := Merge([]string{b, a}, NewDataset)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(rep.Figures, again.Figures), "the order of the reports does not matter")
	more, _, err := Merge([]string{a, b, run("a2", 2, "winogrande", same)}, NewDataset)
	require.NoError(t, err)
	require.Equal(t, 2, more.Users)
	fewer, _, err := Merge([]string{a, run("b1", 1, "boolq", func(o *Options) { o.Strategies = []string{"base", "blend"} })}, NewDataset)
	require.NoError(t, err)
	require.Equal(t, []string{"base", "blend"}, fewer.Settings.Strategies)
	require.Contains(t, strings.Join(fewer.Notes, "\n"), "single")

	for name, c := range map[string]struct {
		paths []string
		want  string
	}{
		"twice":        {[]string{a, a}, "twice"},
		"other shots":  {[]string{a, run("k", 1, "boolq", func(o *Options) { o.Shots = []int{4} })}, "shots differ"},
		"other model":  {[]string{a, run("m", 1, "boolq", func(o *Options) { o.Digests["model"] = "n" })}, "another model"},
		"nobody left":  {[]string{a, run("s", 1, "winogrande", func(o *Options) { o.Datasets = []string{"winogrande"} })}, "no user of the group"},
		"nothing":      {nil, "no report"},
		"no such file": {[]string{filepath.Join(dir, "none.json")}, "none.json"},
		"no raw in it": {[]string{func() string { p := filepath.Join(dir, "x.json"); os.WriteFile(p, []byte("{}"), 0o644); return p }()}, "no raw file"},
		"not a report": {[]string{filepath.Join(dir, "raw", "a.gz")}, "a.gz"},
	} {
		_, _, err := Merge(c.paths, NewDataset)
		require.ErrorContains(t, err, c.want, name)
	}
}

func TestOutputs(t *testing.T) {
	rep, _, err := Run(context.Background(), town(t), newToy(), options())
	require.NoError(t, err)
	var text, md, pic, svg bytes.Buffer
	require.NoError(t, rep.WriteText(&text))
	require.NoError(t, rep.WriteMarkdown(&md))
	for _, s := range append(slices.Clone(short), "blend - swapped", "left out", "all, varied", "desk", "note: ", "s to customise", "what was chosen") {
		require.Contains(t, text.String(), s)
	}
	for _, block := range strings.Split(md.String(), "\n\n") { // every table is rectangular
		columns := -1
		for _, line := range strings.Split(block, "\n") {
			if !strings.HasPrefix(line, "|") {
				continue
			}
			if n := strings.Count(line, "|"); columns == -1 {
				columns = n
			} else {
				require.Equal(t, columns, n, block)
			}
		}
	}
	require.NoError(t, rep.WritePlot(&pic, "png"))
	img, err := png.Decode(&pic)
	require.NoError(t, err)
	require.Greater(t, img.Bounds().Dx(), 500)
	require.NoError(t, rep.WritePlot(&svg, "svg"))
	require.Contains(t, svg.String(), "<svg")
	require.ErrorContains(t, rep.WritePlot(&svg, "gif"), "gif")
	require.ErrorIs(t, rep.WriteText(full{}), errFull)
	require.ErrorIs(t, rep.WriteMarkdown(full{}), errFull)
	require.ErrorIs(t, rep.WritePlot(full{}, "png"), errFull)
	require.ErrorIs(t, rep.WriteHTML(full{}), errFull)
	require.ErrorIs(t, WriteRaw(full{}, []Sheet{{}}), errFull)
}

// full is a disk without room.
type full struct{}

var errFull = fmt.Errorf("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

// The whole data folder, where CRAYON_DATA names it.
func TestDataFolder(t *testing.T) {
	dir := os.Getenv("CRAYON_DATA")
	if dir == "" {
		t.Skip("CRAYON_DATA is not set")
	}
	d, err := qa.Open(dir)
	require.NoError(t, err)
	p, err := Users(context.Background(), d, Selection{Seed: 1}, nil)
	require.NoError(t, err)
	require.Greater(t, len(p.Users), 60)
	rows, labels, sets := 0, 0, map[string]bool{}
	for _, u := range p.Users {
		rows += len(u.scored)
		sets[u.Dataset] = true
		if u.Labels != nil {
			labels++
		}
	}
	t.Logf("%d users (%d with a label set) of %d data sets, %d rows to score", len(p.Users), labels, len(sets), rows)
	for _, n := range p.Notes {
		t.Log(n)
	}
}

func FuzzReadRaw(f *testing.F) {
	f.Add([]byte(`{"dataset":"d","user":"d","group":"seen","shots":16,"draw":0,"ids":["1","2"],"choices":[2,3],"answers":[1,0],"picks":{"base":[1,2],"chance":[-1,-1]}}`))
	f.Add([]byte(`{"dataset":"d","user":"d","shots":4,"ids":["1"],"choices":[2],"answers":[1],"picks":{"base":[7]}}`))
	f.Add([]byte(`{"dataset":"d","user":"d","ids":["1"],"choices":[0],"answers":[-1],"said":{"base":[1]},"chat":{"base":2.5}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var raw bytes.Buffer
		zw := gzip.NewWriter(&raw)
		_, _ = zw.Write(text)
		_ = zw.Close()
		if sheets, err := ReadRaw("raw", &raw); err == nil {
			Summarise(sheets, 1, 100)
		}
	})
}
