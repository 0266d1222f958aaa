package oracle

import (
	"context"
	"slices"

	"crayon/internal/adapter"
	"crayon/internal/kernel"
	"crayon/internal/model"
	"crayon/internal/reference"
)

// Blend is adapters in use: a stack and one weight for each stacked row. The
// zero value is the base model.
type Blend struct {
	Stack *adapter.Stack
	Row   []float32
}

// Reference is the float32 pass over dequantised weights as an Engine.
type Reference struct {
	Weights *reference.Weights
	Team    *kernel.Team
	Blend   Blend
}

// Logits implements Engine.
func (r Reference) Logits(_ context.Context, tokens []int32) ([][]float32, error) {
	vocab := r.Weights.Config.Vocab
	positions := make([]int, len(tokens))
	for i := range positions {
		positions[i] = i
	}
	var side *reference.Side
	if r.Blend.Stack != nil {
		side = &reference.Side{Stack: r.Blend.Stack, Row: r.Blend.Row}
	}
	all := make([]float32, len(tokens)*vocab)
	if err := r.Weights.Logits(r.Team, tokens, side, positions, all); err != nil {
		return nil, err
	}
	return slices.Collect(slices.Chunk(all, vocab)), nil
}

// Fast is the engine that answers users, as an Engine.
type Fast struct {
	Model *model.Model
	Side  *model.Side // nil for the base model
	Row   []float32   // one weight a stacked row, nil for the base model
}

// Logits implements Engine.
func (f Fast) Logits(ctx context.Context, tokens []int32) ([][]float32, error) {
	rows := make([][]float32, 0, len(tokens))
	in := []model.Input{{Cache: f.Model.NewCache(len(tokens)), Tokens: tokens, Row: f.Row, Want: model.WantAll}}
	err := f.Model.Forward(ctx, f.Side, in, func(_, _ int, logits []float32) error {
		rows = append(rows, slices.Clone(logits))
		return nil
	})
	return rows, err
}
