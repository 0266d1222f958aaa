package crayon

import "context"

// Nearness is how much a query is like a customisation's examples: the mean
// cosine similarity to the nearest of them, -1 to 1. No draft is made.
func (c *Crayon) Nearness(ctx context.Context, custom *Customisation, query string) (float32, error) {
	d, err := custom.On(c.device)
	if err != nil {
		return 0, err
	}
	dir, err := d.Direction(ctx, query)
	if err != nil {
		return 0, err
	}
	return custom.Signals(d.Pool, dir).ScopeUser, nil
}

// IfThereWere is the decision at the same numbers if a server were set and
// nothing stood in its way.
func IfThereWere(d Decision) (Decision, error) {
	return d.IfThereWere()
}
