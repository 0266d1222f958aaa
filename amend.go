package crayon

import (
	"context"
	"fmt"
	"time"

	"crayon/internal/examples"
	"crayon/internal/strategy"
)

// Amend makes a stored customisation anew with rows added (nil: none) and the
// examples at the given places, from 1, removed. It returns it as it was and as
// it is, by the strategy or the choice that made it; the old one is kept as a version.
func (c *Crayon) Amend(ctx context.Context, name string, add *Examples, remove ...int) (was, is *Customisation, err error) {
	if was, err = c.Load(name); err != nil {
		return nil, nil, err
	}
	rows, err := was.Rows(remove...)
	if err != nil {
		return nil, nil, err
	}
	labels := was.Labels
	if was.Inferred {
		labels = nil
	}
	set, err := examples.Join(name, rows, add, labels)
	if err != nil {
		return nil, nil, err
	}
	keep := was.Keep
	if keep == 0 {
		keep = -1 // it was made to keep all
	}
	o := CustomizeOptions{Keep: keep}
	if was.Remote != nil {
		is, err = c.CustomizeFrom(ctx, was.Remote.URL, name, set, o)
	} else {
		is, err = c.Customize(ctx, name, set, o)
	}
	if err != nil || was.Method.Strategy == "" {
		return was, is, err
	}
	o.Time = time.Duration(was.Method.Budget * float64(time.Second))
	if was.Method.Strategy != strategy.Chosen {
		o.Strategy = was.Method.Strategy
	}
	is, err = c.Improve(ctx, is, o, nil)
	return was, is, err
}

// SetWeights replaces some weights of a stored customisation by hand, after
// trying that the result does something. It returns it as it was and as it is;
// the old one is kept as a version.
func (c *Crayon) SetWeights(ctx context.Context, name string, weights []Weight) (was, is *Customisation, err error) {
	if was, err = c.Load(name); err != nil {
		return nil, nil, err
	}
	p, err := was.PoolOf(c.Pool())
	if err != nil {
		return nil, nil, err
	}
	if is, err = was.Set(p, weights); err != nil {
		return nil, nil, err
	}
	if err := c.Fits(ctx, is); err != nil {
		return nil, nil, err
	}
	if is.Prompts, err = c.Prompts(is); err != nil {
		return nil, nil, err
	}
	data, err := is.Marshal()
	if err != nil {
		return nil, nil, fmt.Errorf("set weights of %s: %w", name, err)
	}
	return was, is, c.shelf.Put(name, data)
}
