package bench

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
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
	require.Equal(t, Seen, p.group("boolq", []string{""}, catalogued))
	require.Equal(t, Seen, p.group("mmlu", []string{"art", "law"}, catalogued), "one part seen is seen")
	require.Equal(t, NewSubject, p.group("mmlu", []string{"art"}, catalogued))
	require.Equal(t, Related, p.group("pubmedqa", []string{""}, catalogued), "its family was trained on")
	require.Equal(t, NewDataset, p.group("figqa", []string{""}, catalogued))
	require.Equal(t, NewDataset, Provenance(nil).group("boolq", []string{""}, catalogued))
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
		p.add("d", "d", slices.Clone(rows), sel)
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
		again.add("d", "d", slices.Clone(rows), Selection{Seed: sel.Seed, Rows: 1})
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
	seen := map[strategy.Key]bool{}
	for _, call := range e.calls {
		for i := range call {
			k := call[i].Key()
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
	res, err := probed(context.Background(), &runner{memo: newMemo(newToy())}, b)
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

func catalogued(dataset string) string { return qa.About(dataset).Family }

// A set that declares the family of one that was trained on is related, not new.
func TestDeclaredFamilyIsRelated(t *testing.T) {
	p := ProvenanceOf([]qa.Count{{Dataset: "arc_easy", Subjects: []string{""}}})
	declared := func(dataset string) string {
		if dataset == "mine" {
			return "science"
		}
		return catalogued(dataset)
	}
	require.Equal(t, NewDataset, p.group("mine", []string{""}, catalogued))
	require.Equal(t, Related, p.group("mine", []string{""}, declared))
}
