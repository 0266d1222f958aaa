package benchengine

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"crayon/internal/bench"
	"crayon/internal/fault"
	"crayon/internal/pool"
	"crayon/internal/pooltrain"
	"crayon/internal/qa"
)

// Trained is what a pool was trained on.
type Trained struct {
	Provenance bench.Provenance
	Rows       *qa.Training // as far as the data have them; nil: none
	Untold     []string     // what of the rows is not known, in words
}

// Provenance is what the pool was trained on, found by picking its recipe's rows
// from the data again. Of data sets that the pool names but the data lack, the
// subjects are not known; sets of the data that the pool does not name (its
// recipe had sources of its own) were not trained on.
func Provenance(ctx context.Context, d *qa.Data, p *pool.Pool) (*Trained, error) {
	r, err := pooltrain.ParseRecipe([]byte(p.Made.Recipe))
	if err != nil {
		return nil, &fault.Error{Op: "read recipe", Path: "pool " + p.Name, Err: err, Exit: fault.ExitVerify}
	}
	here := d.Datasets()
	// Names of sources that are not here would be errors, as a slip is.
	maps.DeleteFunc(r.Rows.Caps.Datasets, func(name string, _ int) bool { return !slices.Contains(here, name) })
	r.Rows.Exclude.Datasets = slices.DeleteFunc(r.Rows.Exclude.Datasets, func(name string) bool { return !slices.Contains(here, name) })
	trained := map[string]int{} // rows by data set
	for _, set := range p.Made.DataSets() {
		trained[set.Name] = set.Rows
	}
	out := &Trained{}
	var counts []qa.Count
	if slices.ContainsFunc(here, func(name string) bool { _, ok := trained[name]; return ok }) {
		t, err := qa.Sample(ctx, d, r.Rows)
		if err != nil {
			return nil, err
		}
		t.Groups = slices.DeleteFunc(t.Groups, func(g qa.Group) bool { _, ok := trained[g.Dataset]; return !ok })
		picked := map[string]int{}
		for i := range t.Groups {
			g := &t.Groups[i]
			// Training leaves out what it cannot rank.
			g.Rows = slices.DeleteFunc(g.Rows, func(row qa.Row) bool { return len(row.Choices) < 2 })
			picked[g.Dataset] += len(g.Rows)
		}
		counts = slices.DeleteFunc(t.Counts, func(c qa.Count) bool { _, ok := trained[c.Dataset]; return !ok })
		out.Rows = t
		for _, c := range counts {
			n, most := trained[c.Dataset], picked[c.Dataset]
			if r.Topics > 0 {
				most *= 2 // some rows were trained on twice, once by their subject
			}
			if n > 0 && (n < picked[c.Dataset] || n > most) {
				out.Untold = append(out.Untold, fmt.Sprintf("the pool was trained on %d rows of %s, its recipe picks %d here", n, c.Dataset, picked[c.Dataset]))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(trained)) {
		if !slices.Contains(here, name) {
			counts = append(counts, qa.Count{Dataset: name})
			out.Untold = append(out.Untold, fmt.Sprintf("the pool was trained on %s, which is not here", name))
		}
	}
	out.Provenance = bench.ProvenanceOf(counts)
	return out, nil
}
