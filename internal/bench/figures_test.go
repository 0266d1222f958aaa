package bench

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

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
