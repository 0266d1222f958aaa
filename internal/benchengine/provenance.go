package benchengine

import (
	"context"

	"crayon/internal/bench"
	"crayon/internal/fault"
	"crayon/internal/pool"
	"crayon/internal/pooltrain"
	"crayon/internal/qa"
)

// Provenance is what the pool was trained on, found by picking its recipe's rows
// from the data again.
func Provenance(ctx context.Context, d *qa.Data, p *pool.Pool) (bench.Provenance, error) {
	r, err := pooltrain.ParseRecipe([]byte(p.Made.Recipe))
	if err != nil {
		return nil, &fault.Error{Op: "read recipe", Path: "pool " + p.Name, Err: err, Exit: fault.ExitVerify}
	}
	t, err := qa.Sample(ctx, d, r.Rows)
	if err != nil {
		return nil, err
	}
	return bench.ProvenanceOf(t.Counts), nil
}
