package strategy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"crayon/internal/fault"
)

// Cost is what fitting a strategy takes.
type Cost int

// The costs.
const (
	Instant  Cost = iota // the examples' features
	Seconds              // passes over the examples
	Learning             // a Learner
)

func (c Cost) String() string { return [...]string{"instant", "seconds", "learning"}[c] }

// Strategy is one way of fitting a plan to a task. Fit reads nothing but its
// arguments, and gives the same plan for the same ones.
type Strategy struct {
	Name, About string
	Cost        Cost
	Chooses     bool    // its plans pick among given candidates, and write no text of their own
	Nominal     float64 // seconds to fit it to 16 examples of up to 190 tokens and to rate it on them, on 2 cores, about; of Learning: to fit it once
	Fit         func(ctx context.Context, e Engine, t Task) (*Plan, error)
}

// registry in the order of tables.
var registry = []Strategy{
	base, shared, sharedPMI, uniform, top1, blend, blendPMI, blendQuery, shots5, shots16, sharedShots, blendShots, shotsMix, mix, stack, stackShots,
	refine, lorahub, polish, polishBase,
}

// All are the strategies, in the order of tables.
func All() []Strategy { return slices.Clone(registry) }

// Get is the strategy of a name; an unknown one is an error that lists all.
func Get(name string) (Strategy, error) {
	if i := slices.IndexFunc(registry, func(s Strategy) bool { return s.Name == name }); i >= 0 {
		return registry[i], nil
	}
	return Strategy{}, &fault.Error{Op: "choose strategy", Err: fmt.Errorf("no strategy %q", name), Exit: fault.ExitUsage,
		Hint: "strategies: " + strings.Join(Names(), ", ")}
}

// Names are the strategies' names, in the order of tables.
func Names() []string {
	names := make([]string, len(registry))
	for i, s := range registry {
		names[i] = s.Name
	}
	return names
}

// fitted names a plan after the strategy that made it.
func fitted(name string, p Plan) (*Plan, error) {
	p.Strategy = name
	return &p, nil
}
