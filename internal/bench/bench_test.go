package bench

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/fault"
	"crayon/internal/qa"
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
		for _, k := range []int{0, 4, 16, 64} {
			shown := map[[32]byte]bool{}
			for _, ex := range u.Examples(k) {
				shown[ex.Content()] = true
			}
			if len(shown) != len(u.Examples(k)) || len(shown) > k {
				t.Fatalf("%d examples of %d contents at k = %d", len(u.Examples(k)), len(shown), k)
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
	rep, records, err := Run(context.Background(), town(t), e, o)
	require.NoError(t, err)
	require.Equal(t, last.Total, last.Done)
	require.Equal(t, 6*(70*3+54+60), last.Total)
	require.Equal(t, 5, rep.Users)
	require.Equal(t, 324, rep.Rows)
	require.Len(t, records, 324)

	m := rep.Macro
	require.InDelta(t, 1.0/3, m["chance"].Accuracy, 1e-6)
	require.InDelta(t, 0, m["chance"].AboveChance, 1e-6)
	require.Greater(t, m["blend"].Accuracy, m["base"].Accuracy+0.1, "the toy's skill shows")
	require.Greater(t, rep.Groups[Seen].Differences["blend-swapped"].Low, 0.0)
	require.Nil(t, rep.Differences["blend-majority"].P, "a blind guess has no exact test")
	require.NotNil(t, rep.Differences["blend-base"].P)
	// two of three answers of a label user are c1; odd and quiz have no label set
	require.InDelta(t, 2.0/3, rep.ByUser["desk/bills"].Accuracy["majority"], 0.15)
	require.InDelta(t, 1.0/3, rep.ByUser["quiz"].Accuracy["majority"], 1e-6)
	require.Contains(t, strings.Join(rep.Notes, "\n"), "majority is chance for 2 of 5 users")

	require.Equal(t, 3, rep.Groups[LeftOut].Users)
	require.Equal(t, 2, rep.Groups[Seen].Users)
	require.Equal(t, 4, rep.Groups["varied"].Users)
	require.Equal(t, 2, rep.Groups["left_out_varied"].Users)
	require.NotContains(t, rep.Groups, Group("seen_varied"), "the same users as seen")
	require.Equal(t, 3, rep.ByDataset["desk"].Users)
	require.Equal(t, 2, rep.Groups[LeftOut].ByDataset["desk"].Users)
	require.Equal(t, 3, rep.WorseUsers["single"].Tested, "users of 70 rows")
	for user, other := range rep.Swaps {
		require.NotEqual(t, rep.ByUser[user].Dataset, rep.ByUser[other].Dataset)
	}
	require.NoError(t, rep.Verify(records))
	require.Equal(t, 54, rep.ByUser["desk/rest"].Rows)

	for _, call := range e.calls {
		for _, row := range call.Rows {
			require.Equal(t, -1, row.Answer, "the engine never sees the gold")
		}
		if call.Mode == ModeBlend {
			require.Equal(t, 16, call.Custom.(vocation).n)
		} else {
			require.Nil(t, call.Custom)
		}
	}
	shots := slices.IndexFunc(e.calls, func(r Request) bool { return len(r.Shots) > 0 })
	require.Len(t, e.calls[shots].Shots, 5)
	require.NotEqual(t, -1, e.calls[shots].Shots[0].Answer)
}

func TestRunIsDeterministic(t *testing.T) {
	d := town(t)
	run := func(scores bool) (*Report, []byte) {
		o := options()
		o.Scores = scores
		rep, records, err := Run(context.Background(), d, newToy(), o)
		require.NoError(t, err)
		var raw bytes.Buffer
		require.NoError(t, WriteRaw(&raw, records))
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
		"engine fails":      {func(e *toy, _ *Options) { e.err = errToy }, "toy broke"},
		"a row missing":     {func(e *toy, _ *Options) { e.bad = func(s [][]float64) [][]float64 { return s[1:] } }, "scored 69 of 70"},
		"a choice missing":  {func(e *toy, _ *Options) { e.bad = func(s [][]float64) [][]float64 { s[3] = s[3][1:]; return s } }, "2 scores for 3 choices"},
		"not a number":      {func(e *toy, _ *Options) { e.bad = func(s [][]float64) [][]float64 { s[3][0] = math.NaN(); return s } }, "NaN"},
		"infinite":          {func(e *toy, _ *Options) { e.bad = func(s [][]float64) [][]float64 { s[3][0] = math.Inf(-1); return s } }, "-Inf"},
		"unknown strategy":  {func(_ *toy, o *Options) { o.Strategies = []string{"blnd"} }, `no strategy "blnd"`},
		"strategy twice":    {func(_ *toy, o *Options) { o.Strategies = []string{"base", "base"} }, "twice"},
		"no baseline":       {func(e *toy, o *Options) { e.modes = []Mode{ModeBase}; o.Strategies = []string{"single"} }, "no single"},
		"too many examples": {func(_ *toy, o *Options) { o.Shots = 65 }, "shots is 65"},
		"no rows":           {func(_ *toy, o *Options) { o.Rows = 0 }, "rows is 0"},
		"few resamples":     {func(_ *toy, o *Options) { o.Resamples = 1 }, "resamples is 1"},
		"users below 0":     {func(_ *toy, o *Options) { o.Users = -1 }, "users is -1"},
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

func TestMissingModesAreNoted(t *testing.T) {
	e, o := newToy(), options()
	e.modes = []Mode{ModeBase, ModeBlend}
	rep, _, err := Run(context.Background(), folder(t, place{dataset: "quiz", rows: 100}), e, o)
	require.NoError(t, err)
	require.Equal(t, []string{"chance", "majority", "base", "shots5", "blend"}, rep.Settings.Strategies)
	require.Contains(t, strings.Join(rep.Notes, "\n"), "single left out")
	require.Contains(t, strings.Join(rep.Notes, "\n"), "swapped left out: there is one user only")
}

func TestNoExamples(t *testing.T) {
	e, o := newToy(), options()
	o.Shots = 0
	rep, _, err := Run(context.Background(), town(t), e, o)
	require.NoError(t, err)
	require.InDelta(t, 1.0/3, rep.Macro["majority"].Accuracy, 1e-6)
	require.Equal(t, rep.Macro["base"], rep.Macro["shots5"])
}

// hand makes records from accuracies: right of rows, a user each.
func hand(user, dataset string, choices int, right map[string]int, rows int) []Record {
	var out []Record
	for i := range rows {
		r := Record{Dataset: dataset, User: user, Group: Seen, ID: fmt.Sprint(i), Choices: choices, Answer: 1, Picks: map[string]int{"chance": guess}}
		for s, n := range right {
			r.Picks[s] = 0
			if i < n {
				r.Picks[s] = 1
			}
		}
		out = append(out, r)
	}
	return out
}

func TestMacroByHand(t *testing.T) {
	var records []Record
	records = append(records, hand("a/x", "a", 2, map[string]int{"base": 5, "blend": 8}, 10)...)
	records = append(records, hand("a/y", "a", 2, map[string]int{"base": 1, "blend": 1}, 4)...)
	records = append(records, hand("b", "b", 4, map[string]int{"base": 60, "blend": 30}, 100)...)
	f := Summarise(records, 1, 200)
	// base: ((5/10 + 1/4)/2 + 60/100)/2; blend: ((8/10 + 1/4)/2 + 30/100)/2
	require.InDelta(t, 0.4875, f.Macro["base"].Accuracy, 1e-6)
	require.InDelta(t, 0.4125, f.Macro["blend"].Accuracy, 1e-6)
	// chance 1/2, 1/2, 1/4: base ((0 - 0.5)/2 + 0.35/0.75)/2
	require.InDelta(t, (-0.25+0.35/0.75)/2, f.Macro["base"].AboveChance, 1e-6)
	require.InDelta(t, 0.375, f.Macro["chance"].Accuracy, 1e-6)
	d := f.Differences["blend-base"]
	require.InDelta(t, -0.075, d.Difference, 1e-6)
	require.Equal(t, Tally{1, 1, 1}, d.Users)
	require.Equal(t, Tally{3, 30, 81}, d.Rows)
	require.Equal(t, Worse{Tested: 1, Significant: []string{"b"}, Below: []string{"b"}}, *f.WorseUsers["blend"])
	require.InDelta(t, (0.3+0)/2, f.ByDataset["a"].Differences["blend-base"].Difference, 1e-6)
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
		var records []Record
		for u := range rapid.IntRange(1, 6).Draw(t, "users") {
			set := fmt.Sprint("d", rapid.IntRange(0, 2).Draw(t, "set"))
			choices := rapid.IntRange(2, 5).Draw(t, "choices")
			for i := range rapid.IntRange(5, 30).Draw(t, "rows") {
				pick := rapid.IntRange(0, choices-1)
				base := pick.Draw(t, "base")
				records = append(records, Record{Dataset: set, User: fmt.Sprint(set, "/", u), Group: Seen, ID: fmt.Sprint(i), Choices: choices,
					Picks: map[string]int{"base": base, "single": base, "blend": pick.Draw(t, "blend"), "chance": guess}})
			}
		}
		f := Summarise(records, 3, 300)
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
		other := Summarise(rapid.Permutation(records).Draw(t, "order"), 3, 300)
		if diff := cmp.Diff(f, other); diff != "" {
			t.Fatal(diff)
		}
	})
}

// The interval of one user's accuracy is near the binomial one, and pairing
// narrows a difference of two strategies that mostly agree.
func TestBootstrapWidth(t *testing.T) {
	records := hand("d", "d", 4, map[string]int{"base": 200, "blend": 220}, 400)
	f := Summarise(records, 1, 2000)
	se := math.Sqrt(0.25 / 400)
	require.InDelta(t, 2*1.96*se, f.Macro["base"].High-f.Macro["base"].Low, 0.012)
	d := f.Differences["blend-base"]
	require.InDelta(t, 2*1.96*math.Sqrt(0.05*0.95/400), d.High-d.Low, 0.006)
}

func TestRawRoundTrip(t *testing.T) {
	o := options()
	o.Scores = true
	rep, records, err := Run(context.Background(), town(t), newToy(), o)
	require.NoError(t, err)
	var raw bytes.Buffer
	require.NoError(t, WriteRaw(&raw, records))
	back, err := ReadRaw("raw", bytes.NewReader(raw.Bytes()))
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(records, back))

	text, err := json.Marshal(rep)
	require.NoError(t, err)
	var read Report
	require.NoError(t, json.Unmarshal(text, &read))
	require.NoError(t, read.Verify(back), "the published report follows from the published rows")
	for _, key := range []string{`"macro"`, `"by_dataset"`, `"by_user"`, `"differences"`, `"groups"`, `"settings"`, `"digests"`, `"worse_users"`} {
		require.Contains(t, string(text), key)
	}
	back[0].Picks["blend"] = (back[0].Picks["blend"] + 1) % back[0].Choices
	back[0].Answer = back[0].Picks["blend"]
	err = read.Verify(back)
	require.Error(t, err)
	require.Equal(t, fault.ExitVerify, fault.Code(err))
	require.Error(t, read.Verify(nil))

	_, err = ReadRaw("raw", bytes.NewReader(raw.Bytes()[:raw.Len()/2]))
	require.Error(t, err)
}

func TestOutputs(t *testing.T) {
	rep, _, err := Run(context.Background(), town(t), newToy(), options())
	require.NoError(t, err)
	var text, md, pic, svg bytes.Buffer
	require.NoError(t, rep.WriteText(&text))
	require.NoError(t, rep.WriteMarkdown(&md))
	for _, s := range append(Strategies(), "blend - swapped", "left out", "all, varied", "desk", "note: ") {
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
	require.ErrorIs(t, WriteRaw(full{}, []Record{{}}), errFull)
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
	f.Add([]byte(`{"dataset":"d","user":"d","group":"seen","id":"1","choices":2,"answer":1,"picks":{"base":1,"chance":-1}}`))
	f.Add([]byte(`{"dataset":"d","user":"d","id":"1","choices":2,"answer":1,"picks":{"base":7}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var raw bytes.Buffer
		zw := gzip.NewWriter(&raw)
		_, _ = zw.Write(text)
		_ = zw.Close()
		if records, err := ReadRaw("raw", &raw); err == nil {
			Summarise(records, 1, 100)
		}
	})
}
