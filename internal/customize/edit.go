package customize

import (
	"fmt"
	"slices"
	"time"

	"crayon/internal/examples"
	"crayon/internal/fault"
	"crayon/internal/pool"
)

// ByHand is the strategy of weights that were set by their user.
const ByHand = "set"

// Set is a copy with some weights replaced, by adapter, the shared ones by any
// of their names; 0 leaves an adapter out. It has no proof: what was proved
// were other weights.
func (c *Customisation) Set(p *pool.Pool, weights []Weight) (*Customisation, error) {
	if _, err := c.Members(p); err != nil {
		return nil, err
	}
	fail := func(name string, err error, hint string) (*Customisation, error) {
		return nil, &fault.Error{Op: "set weights", Path: name, Err: err, Hint: hint, Exit: fault.ExitUsage}
	}
	now := *c
	now.bound = new(binding)
	now.Strategy, now.Proof, now.Residual, now.Took = ByHand, nil, 0, 0
	now.Plan, now.Method = nil, Method{} // the weights alone
	now.Created = time.Now().UTC().Truncate(time.Second)
	now.Kept = slices.Clone(c.Kept)
	for _, w := range weights {
		at := slices.IndexFunc(p.Members, func(m pool.Member) bool { return m.Name == w.Adapter })
		if at < 0 {
			return fail(w.Adapter, fmt.Errorf("the pool has no adapter of this name"), "crayon pool info")
		}
		if !usable(w.Weight) {
			return fail(w.Adapter, fmt.Errorf("the weight %g is beyond ±%d", w.Weight, maxWeight), "")
		}
		if p.Members[at].Shared {
			now.Shared = w.Weight
			continue
		}
		now.Kept = slices.DeleteFunc(now.Kept, func(k Weight) bool { return k.Adapter == w.Adapter })
		if w.Weight != 0 {
			now.Kept = append(now.Kept, w)
		}
	}
	if len(now.Kept) == 0 {
		return fail(c.Name, fmt.Errorf("no blended adapter is left"), "leave one in, or use base")
	}
	order := map[string]int{}
	for i, m := range p.Members {
		order[m.Name] = i
	}
	slices.SortFunc(now.Kept, func(a, b Weight) int { return order[a.Adapter] - order[b.Adapter] })
	now.Weights = slices.Clone(now.Kept)
	return &now, nil
}

// Rows are the examples as a file would have given them, those at the given
// places, from 1, left out.
func (c *Customisation) Rows(without ...int) ([]examples.Example, error) {
	for _, k := range without {
		if k < 1 || k > len(c.Examples) {
			return nil, &fault.Error{Op: "remove example", Path: c.Name, Err: fmt.Errorf("there is no example %d of %d", k, len(c.Examples)), Hint: "crayon show " + c.Name + " --examples", Exit: fault.ExitUsage}
		}
	}
	var out []examples.Example
	for i, e := range c.Examples {
		if !slices.Contains(without, i+1) {
			out = append(out, examples.Example{Question: e.Question, Answer: e.Answer, Context: e.Context, Choices: e.Choices, Labelled: e.Labelled})
		}
	}
	return out, nil
}
