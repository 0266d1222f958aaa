package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/strategy"
)

// method is one way to choose answers for a user, from the examples of a draw.
type method struct {
	name, about string
	needs       string // a baseline of the pool's file; "" for none
	learns      bool   // it needs an engine that goes backwards
	run         func(ctx context.Context, r *runner, b *bout) (result, error)
}

// result is what a method made of a user's rows.
type result struct {
	picks  []int          // by row; guess where the method knows nothing. nil: the best scores
	scores [][]float64    // by row and choice; nil if the method has none
	plan   *strategy.Plan // what was scored; nil if the method is none of the product's
	task   strategy.Task  // that the plan belongs to
	chosen string         // what a selecting strategy selected, else ""
	fit    *cost          // of fitting; nil where nothing is fitted
}

// Names of strategies that this package looks for.
const (
	chance   = "chance"
	majority = "majority"
	base     = "base"
	single   = "single"
)

// own are the rivals and controls that are no strategy of the product.
var own = []method{
	{name: chance, about: "1 / choices, expected", run: guesses},
	{name: majority, about: "the most frequent answer of the examples; chance where choices differ by row", run: mostFrequent},
	{name: "knn", about: "the answer of the most similar examples; chance where none of theirs is a choice", run: nearest},
	{name: "probe", about: "logistic regression from the question's feature to the label; chance where choices differ by row", run: probed},
	{name: "choices_only", about: "the blend without the question", run: choicesOnly},
	{name: "pmi", about: "the base model's score less that without the question", run: pmi},
	{name: single, about: "one adapter of the blend's run-time rank, trained alike", needs: single, run: rival(single)},
	{name: "single_r24", about: "one adapter of rank 24, trained alike", needs: "single_r24", run: rival("single_r24")},
	{name: "single_total", about: "one adapter of the whole pool's rank, trained alike", needs: "single_total", run: rival("single_total")},
	{name: "random", about: "the pool at weights drawn at random, each user's own", run: random},
	{name: "swapped", about: "the blend of a user of another family", run: swapped},
}

// tableOrder is the order of tables; what it lacks comes after, sorted.
var tableOrder = []string{
	chance, majority, "knn", "probe", "choices_only", "pmi", base, "base_sum", "base_chars", "base_bytes", "shots5", "shots16",
	single, "single_sum", "single_chars", "single_bytes", "single_r24", "single_total", "uniform", "random", "top1", "swapped", "shared", "shared_pmi", "shared_shots", "shots_mix", "blend", "blend_pmi", "blend_sum", "blend_chars", "blend_bytes", "blend_query", "blend_shots",
	"lorahub", "refine", "polish", "polish_base", "mix", "stack", "stack_shots", "chosen_unlabelled", "chosen_acc", "chosen",
}

// short is what a run without --full scores.
var short = []string{chance, majority, base, single, "uniform", "swapped", "blend", "shots5", "chosen"}

// drawn are the strategies of the small picture, where there are more than fit.
var drawn = []string{chance, majority, "knn", base, "shots5", single, "uniform", "swapped", "shared", "blend", "refine", "polish", "stack", "chosen"}

// differences are reported where both sides were run.
var differences = [][2]string{
	{"blend", base}, {"blend", single}, {"blend", "swapped"}, {"blend", "uniform"}, {"blend", "shared"}, {"blend", "shots5"}, {"blend", majority},
	{"blend_pmi", "blend"}, {"chosen_unlabelled", base}, {"chosen_unlabelled", single}, {"chosen_unlabelled", "swapped"}, {"chosen_unlabelled", "blend"}, {"chosen", "chosen_unlabelled"},
	{single, base}, {"shared", single}, {"blend_query", "blend"}, {"refine", "blend"}, {"refine", "lorahub"}, {"polish", "blend"}, {"polish", "polish_base"},
	{"chosen", base}, {"chosen", single}, {"chosen", "single_r24"}, {"chosen", "single_total"}, {"chosen", "blend"}, {"chosen", majority}, {"chosen", "knn"}, {"chosen", "probe"},
	{"chosen", "shots5"}, {"chosen", "shots16"}, {"chosen", "chosen_acc"}, {"stack", "blend"},
	{"blend_sum", "base_sum"}, {"blend_chars", "base_chars"}, {"blend_bytes", "base_bytes"},
}

// comparisons are the differences between names.
func comparisons(names []string) [][2]string {
	return slices.DeleteFunc(slices.Clone(differences), func(d [2]string) bool {
		return !slices.Contains(names, d[0]) || !slices.Contains(names, d[1])
	})
}

// methods are all: the rivals here and the registry of strategies.
func methods() []method {
	all := append(slices.Clone(own), byMeasure()...)
	for _, s := range strategy.All() {
		all = append(all, method{name: s.Name, about: s.About, learns: s.Cost == strategy.Learning, run: registered(s)})
	}
	byName := map[string]method{}
	var names []string
	for _, m := range all {
		byName[m.name] = m
		names = append(names, m.name)
	}
	for i, name := range inOrder(names) {
		all[i] = byName[name]
	}
	return all
}

// inOrder sorts names as tables have them.
func inOrder(names []string) []string {
	place := func(name string) int {
		if i := slices.Index(tableOrder, name); i >= 0 {
			return i
		}
		return len(tableOrder)
	}
	out := slices.Sorted(slices.Values(names))
	slices.SortStableFunc(out, func(a, b string) int { return place(a) - place(b) })
	return out
}

// Strategies returns the names of all strategies, in the order of the tables.
func Strategies() []string {
	var names []string
	for _, m := range methods() {
		names = append(names, m.name)
	}
	return names
}

// About says in a few words what a strategy does; "" if there is none.
func About(name string) string {
	for _, m := range methods() {
		if m.name == name {
			return m.about
		}
	}
	return ""
}

// choose returns the methods to run, in the order of the tables, and notes on
// those left out because the engine lacks what they need. One asked for by
// name is never left out.
func choose(asked []string, full bool, e strategy.Engine) ([]method, []string, error) {
	fail := func(err error) error {
		return &fault.Error{Op: "choose strategies", Err: err, Exit: fault.ExitUsage,
			Hint: "strategies: " + strings.Join(Strategies(), ", ")}
	}
	for i, name := range asked {
		if About(name) == "" {
			return nil, nil, fail(fmt.Errorf("no strategy %q", name))
		}
		if slices.Contains(asked[:i], name) {
			return nil, nil, fail(fmt.Errorf("strategy %q twice", name))
		}
	}
	_, learns := strategy.Learns(e)
	var run []method
	var notes []string
	for _, m := range methods() {
		switch {
		case len(asked) > 0 && !slices.Contains(asked, m.name),
			len(asked) == 0 && !full && !slices.Contains(short, m.name):
			continue
		}
		lacks := ""
		if m.needs != "" && e.Pool().Baseline[m.needs] == nil {
			lacks = "the pool has no baseline " + m.needs
		} else if m.learns && !learns {
			lacks = "the engine cannot learn"
		}
		if lacks != "" && len(asked) > 0 {
			return nil, nil, fail(fmt.Errorf("%s: %s", m.name, lacks))
		}
		if lacks != "" {
			notes = append(notes, m.name+" left out: "+lacks)
			continue
		}
		run = append(run, m)
	}
	return run, notes, nil
}
