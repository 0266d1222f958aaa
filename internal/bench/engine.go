// Package bench measures customisation: users made from question-answer data
// sets, each strategy's choices on rows it has not seen, and what the figures
// say once users, data sets and chance are accounted for.
package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/qa"
)

// Mode is which weights an engine scores with.
type Mode string

// The modes an engine may have.
const (
	ModeBase    Mode = "base"    // the base model alone
	ModeSingle  Mode = "single"  // the baseline: one adapter of the blend's run-time rank
	ModeUniform Mode = "uniform" // the pool at equal weights
	ModeBlend   Mode = "blend"   // the pool at a customisation's weights
)

// Customisation is what an engine made of a user's examples: opaque here.
type Customisation any

// Request asks for the scores of one user's rows.
type Request struct {
	Mode   Mode
	Custom Customisation // in ModeBlend, else nil; for `swapped`, another user's
	Labels []string      // the user's label set, listed in every prompt; nil if none
	Shots  []qa.Row      // examples to put before the question, in this order; nil for none
	Rows   []qa.Row      // to score; the gold answers must not be read
}

// Engine answers for a model and a pool. Calls are not concurrent; an engine
// spreads a call over its own threads. The same call gives the same result.
type Engine interface {
	// Modes lists what this engine can score. A pool without a baseline
	// adapter has no ModeSingle.
	Modes() []Mode

	// Customise makes a user's customisation from at most 64 examples (none
	// for k = 0) and the label set, nil if the user has none.
	Customise(ctx context.Context, examples []qa.Row, labels []string) (Customisation, error)

	// Score returns, for each row and each of its choices in the row's order,
	// the mean log-probability per answer token, end token included. done is
	// called with the number of rows scored since its last call; it is not nil.
	Score(ctx context.Context, req Request, done func(rows int)) ([][]float64, error)
}

// strategy is one way to choose an answer.
type strategy struct {
	name  string
	mode  Mode // "" for those that need no engine
	shots int  // examples in the prompt
	swap  bool // with another user's customisation
	about string
}

// Names of the strategies that need no engine.
const (
	chance   = "chance"
	majority = "majority"
)

// strategies in the order of tables and plots.
var strategies = []strategy{
	{name: chance, about: "1 / choices, expected"},
	{name: majority, about: "the most frequent answer of the examples; chance where choices differ by row"},
	{name: "base", mode: ModeBase, about: "the base model"},
	{name: "shots5", mode: ModeBase, shots: 5, about: "the base model, 5 examples in the prompt"},
	{name: "single", mode: ModeSingle, about: "one adapter of the blend's run-time rank"},
	{name: "uniform", mode: ModeUniform, about: "the pool at equal weights"},
	{name: "swapped", mode: ModeBlend, swap: true, about: "the blend of a user of another family"},
	{name: "blend", mode: ModeBlend, about: "the pool at the user's weights"},
}

// comparisons are the differences reported where both sides were run.
var comparisons = [][2]string{
	{"blend", "base"}, {"blend", "single"}, {"blend", "swapped"}, {"blend", "uniform"},
	{"blend", "shots5"}, {"blend", majority}, {"single", "base"},
}

// Strategies returns the names of all strategies, in the order of the tables.
func Strategies() []string {
	names := make([]string, len(strategies))
	for i, s := range strategies {
		names[i] = s.name
	}
	return names
}

// About says in a few words what a strategy does; "" if there is none.
func About(name string) string {
	if i := slices.IndexFunc(strategies, func(s strategy) bool { return s.name == name }); i >= 0 {
		return strategies[i].about
	}
	return ""
}

// choose returns the strategies to run, in the order of the tables, and notes
// on those left out because the engine lacks their mode. One asked for by name
// is never left out.
func choose(asked []string, have []Mode) ([]strategy, []string, error) {
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
	var run []strategy
	var notes []string
	for _, s := range strategies {
		if len(asked) > 0 && !slices.Contains(asked, s.name) {
			continue
		}
		if s.mode != "" && !slices.Contains(have, s.mode) {
			if len(asked) > 0 {
				return nil, nil, fail(fmt.Errorf("%s: the pool has no %s to score with", s.name, s.mode))
			}
			notes = append(notes, fmt.Sprintf("%s left out: the pool has no %s to score with", s.name, s.mode))
			continue
		}
		run = append(run, s)
	}
	return run, notes, nil
}
