package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"crayon/internal/qa"
)

// words are n words that nothing else has.
func words(of string, n int) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s%d", of, i))
	}
	return strings.Join(out, " ")
}

func TestPlantedCopiesAreMarked(t *testing.T) {
	scored := []qa.Row{
		{Question: "Which is the copy?", Context: "here", Choices: []string{"a", "b"}, Answer: 1},
		{Question: "Who wrote the book?", Choices: []string{"the hand", "foot"}},
		{Question: words("long", 14), Choices: []string{"a", "b"}},
		{Question: words("short", 12), Choices: []string{"a", "b"}},
		{Question: "Follow the template: " + words("common", 13), Choices: []string{"a", "b"}},
		{Question: "What is mine?", Choices: []string{"a", "b"}},
		{Question: "Is it clean?", Choices: []string{"a", "b"}},
		{Question: "?!", Choices: []string{"a", "b"}},
		{Question: "Where?", Context: "in a passage", Choices: []string{"a", "b"}},
		{Question: "What is (2) + (3)?", Choices: []string{"one", "b"}},
	}
	u := &User{Name: "u", scored: scored, reserve: []qa.Row{
		{Question: "what is MINE", Choices: []string{"a", "c"}}, {Question: "is it clean?", Choices: []string{"no", "a"}},
	}}
	rows := []qa.Row{
		{Question: "Which is the copy?", Context: "here", Choices: []string{"b", "a"}, Answer: 1}, // another gold
		{Question: "who WROTE book", Choices: []string{"Hand!", "other", "more"}},
		{Question: "who wrote the book?", Choices: []string{"foot", "other"}}, // another gold
		{Question: "before, " + strings.ToUpper(words("long", 13)) + " after", Choices: []string{"x", "y"}},
		{Question: words("short", 12) + " and on", Choices: []string{"x", "y"}},
		{Question: "!!", Choices: []string{"a", "c"}}, // no word is left of either
		{Question: "Where?", Context: "in another passage", Choices: []string{"a", "b"}},
		{Question: "What is 2 * 3?", Choices: []string{"one", "c"}},
		{Question: "What is 2 3?", Choices: []string{"one", "c"}},
	}
	for range commonRun + 1 {
		rows = append(rows, qa.Row{Question: words("common", 13) + " too", Choices: []string{"x", "y"}})
	}
	find := func(rows []qa.Row) []Mark {
		return marksOfUsers([]*User{u}, &qa.Training{Groups: []qa.Group{{Rows: rows[:2]}, {Rows: rows[2:]}}})["u"]
	}
	require.Equal(t, []Mark{SameContent, SameQuestion, SharedWords, 0, 0, OwnExample, 0, 0, 0, 0}, find(rows))
	require.Equal(t, SharedWords, find(rows[:len(rows)-1])[4], "in ten rows it is no template yet")
	repeated := append(rows[:len(rows)-commonRun], qa.Row{Question: strings.Repeat(words("common", 13)+" ", 20), Choices: []string{"x", "y"}})
	require.Equal(t, SharedWords, find(repeated)[4], "a row counts once")
}

func TestLongRowsAreBounded(t *testing.T) {
	x := newIndex()
	n := 0
	x.eachRun(&qa.Row{Question: words("w", 3*mostWords)}, func(uint64) { n++ })
	require.Equal(t, mostWords-runWords+1, n)
}

// What is planted is counted, noted, left out of the clean figures, shown, kept
// in the raw rows and held to them; what is not looked for leaves no trace.
func TestContamination(t *testing.T) {
	d, o := town(t), options()
	o.Datasets, o.Strategies = []string{"quiz", "desk/bills"}, []string{"base", "blend"}
	plain, _, err := Run(context.Background(), d, newToy(), o)
	require.NoError(t, err)
	require.Nil(t, plain.Contamination)
	require.NotContains(t, strings.Join(plain.Notes, "\n"), "contamination")

	people, err := Users(context.Background(), d, o.Selection, o.Provenance)
	require.NoError(t, err)
	quiz := people.Users[1]
	require.Equal(t, "quiz", quiz.Name)
	planted := slices.Clone(quiz.scored[:7])
	o.Contamination, o.Trained, o.Untold = true, &qa.Training{Groups: []qa.Group{{Dataset: "far", Rows: planted}}}, []string{"something is not here"}
	rep, sheets, err := Run(context.Background(), d, newToy(), o)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(plain.Macro, rep.Macro), "the figures are of all rows still")
	require.Equal(t, Found{Rows: 140, Same: 7, Question: 7}, rep.Contamination.Found)
	require.Equal(t, &Found{Rows: 70, Same: 7, Question: 7}, rep.Contamination.ByDataset["quiz"])
	require.Equal(t, &Found{Rows: 70}, rep.Contamination.ByDataset["desk"])
	require.Equal(t, 133, rep.Clean[all]["blend"].Rows)
	right := 0.0
	for i := range sheets {
		if s := &sheets[i]; s.User == "quiz" {
			for row := 7; row < 70; row++ {
				right += s.credit("blend", row)
			}
		}
	}
	desk := rep.ByUser["desk/bills"].Accuracy["blend"]
	require.InDelta(t, (desk+right/63)/2, rep.Clean[all]["blend"].Accuracy, 1e-6)
	notes := strings.Join(rep.Notes, "\n")
	require.Contains(t, notes, "contamination: 7 of 140 scored rows with the content")
	require.Contains(t, notes, "most in quiz, 7 of 70")
	require.Contains(t, notes, "something is not here")

	var text, page bytes.Buffer
	require.NoError(t, rep.WriteText(&text))
	require.NoError(t, rep.WriteHTML(&page))
	for _, s := range []string{text.String(), page.String()} {
		require.Contains(t, s, "clean: without the rows")
		require.Contains(t, s, "13 words in a row")
	}
	var raw bytes.Buffer
	require.NoError(t, WriteRaw(&raw, sheets))
	back, err := ReadRaw("raw", &raw)
	require.NoError(t, err)
	require.NoError(t, rep.Verify(back))
	for i := range back {
		back[i].Found = slices.Clone(back[i].Found)
		back[i].Found[len(back[i].Found)-1] |= OwnExample
	}
	require.ErrorContains(t, rep.Verify(back), "clean")
	back[0].Found[0] = marks + 1
	require.Error(t, back[0].check())

	o.Trained = nil
	rep, _, err = Run(context.Background(), d, newToy(), o)
	require.NoError(t, err)
	require.Nil(t, rep.Contamination)
	require.Contains(t, strings.Join(rep.Notes, "\n"), "not looked for contamination")
}

// A user of whose rows none is clean is none of the clean figures; where
// nothing was found there are none.
func TestCleaned(t *testing.T) {
	sheet := func(user string, found ...Mark) *Sheet {
		return &Sheet{User: user, Dataset: "d", IDs: []string{"0", "1"}, Choices: []int{2, 2}, Answers: []int{0, 1}, Picks: map[string][]int{"base": {1, 1}}, Found: found}
	}
	require.Nil(t, cleaned([]*Sheet{sheet("a", 0, SharedWords), sheet("b", 0, 0)}))
	require.Nil(t, cleaned([]*Sheet{sheet("a", SameContent, 0), sheet("b")}), "b was not looked at")
	got := cleaned([]*Sheet{sheet("a", SameContent, 0), sheet("b", SameQuestion, OwnExample)})
	require.Len(t, got, 1)
	require.Equal(t, []string{"1"}, got[0].IDs)
	require.Equal(t, []int{1}, got[0].Picks["base"])
	require.Equal(t, 2, count([]*Sheet{sheet("a", SameContent, 0), sheet("a", SameContent, 0)}).Rows, "another draw is the same rows")
	require.Nil(t, count([]*Sheet{sheet("a")}))
}

// The gold answers of scored rows are nowhere a strategy could read them: it is
// told -1, and with other golds every strategy picks what it picked.
func TestGoldsCannotBeRead(t *testing.T) {
	spied := 0
	spy := method{name: "spy", run: func(_ context.Context, _ *runner, b *bout) (result, error) {
		for i := range b.rows {
			require.Equal(t, -1, b.rows[i].Gold)
		}
		for i := range b.task.Rows {
			require.GreaterOrEqual(t, b.task.Rows[i].Gold, 0, "examples have answers")
		}
		spied++
		return result{picks: make([]int, len(b.rows))}, nil
	}}
	score := func(change int) string {
		o := options()
		o.Full, o.Shots, o.Draws, o.Scores = true, []int{0, 16}, 2, true
		e := newToy()
		run, _, err := choose(nil, true, e)
		require.NoError(t, err)
		people, err := Users(context.Background(), town(t), o.Selection, o.Provenance)
		require.NoError(t, err)
		r := &runner{engine: e, opt: o, people: people, run: append(run, spy), memo: newMemo(e),
			directions: map[string][]float32{}, timing: map[string]*Timing{}, swaps: map[string]string{}}
		r.shared = r.memo.asEngine()
		var picked []any
		for _, u := range people.Users {
			for i := range u.scored {
				u.scored[i].Answer = (u.scored[i].Answer + change) % len(u.scored[i].Choices)
			}
			p, err := r.user(context.Background(), u)
			require.NoError(t, err)
			for i := range p.Sheets {
				picked = append(picked, u.Name, p.Sheets[i].Picks, p.Sheets[i].Scores, p.Sheets[i].Chosen)
			}
		}
		text, err := json.Marshal(picked)
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, score(0), score(1))
	require.Equal(t, 2*5*2*2, spied)
}
