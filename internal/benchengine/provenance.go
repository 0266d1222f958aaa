package benchengine

import (
	"context"
	"maps"
	"slices"

	"crayon/internal/bench"
	"crayon/internal/fault"
	"crayon/internal/pool"
	"crayon/internal/pooltrain"
	"crayon/internal/qa"
)

// Provenance is what the pool was trained on, found by picking its recipe's rows
// from the data again. Of data sets that the pool names but the data lack, the
// subjects are not known; sets of the data that the pool does not name (its
// recipe had sources of its own) were not trained on.
func Provenance(ctx context.Context, d *qa.Data, p *pool.Pool) (bench.Provenance, error) {
	r, err := pooltrain.ParseRecipe([]byte(p.Made.Recipe))
	if err != nil {
		return nil, &fault.Error{Op: "read recipe", Path: "pool " + p.Name, Err: err, Exit: fault.ExitVerify}
	}
	here := d.Datasets()
	// Names of sources that are not here would be errors, as a slip is.
	maps.DeleteFunc(r.Rows.Caps.Datasets, func(name string, _ int) bool { return !slices.Contains(here, name) })
	r.Rows.Exclude.Datasets = slices.DeleteFunc(r.Rows.Exclude.Datasets, func(name string) bool { return !slices.Contains(here, name) })
	trained := map[string]bool{}
	for _, set := range p.Made.DataSets() {
		trained[set.Name] = true
	}
	var counts []qa.Count
	if slices.ContainsFunc(here, func(name string) bool { return trained[name] }) {
		t, err := qa.Sample(ctx, d, r.Rows)
		if err != nil {
			return nil, err
		}
		counts = slices.DeleteFunc(t.Counts, func(c qa.Count) bool { return !trained[c.Dataset] })
	}
	for name := range trained {
		if !slices.Contains(here, name) {
			counts = append(counts, qa.Count{Dataset: name})
		}
	}
	return bench.ProvenanceOf(counts), nil
}
