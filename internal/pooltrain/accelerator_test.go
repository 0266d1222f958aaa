package pooltrain

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"crayon/internal/accel"
	"crayon/internal/model"
	"crayon/internal/reference"
	"crayon/internal/train"
)

// processor is an accelerator that computes on the processor.
type processor struct {
	accel.Engine
	model    *model.Model
	features int
	runs     []train.Config
	err      error
}

func (p *processor) Name() string { return "processor" }

func (p *processor) Features(ctx context.Context, layer int, texts [][]int32) ([][]float32, error) {
	p.features += len(texts)
	return p.model.Features(ctx, layer, texts)
}

func (p *processor) Train(ctx context.Context, c train.Config, examples []train.Example) (*train.Params, error) {
	if p.err != nil {
		return nil, p.err
	}
	p.runs = append(p.runs, c)
	w, err := reference.Load(p.model.File(), p.model.Config)
	if err != nil {
		return nil, err
	}
	return train.Run(ctx, c, w, examples)
}

// What an accelerator is asked for is all that the processor is asked for.
func TestAcceleratorTakesOver(t *testing.T) {
	o := options(t)
	want, err := Run(t.Context(), o)
	require.NoError(t, err)
	o.Out = t.TempDir() + "/single.gguf"
	single, err := Single(t.Context(), o)
	require.NoError(t, err)

	m, err := model.Open(o.Model, model.Options{Threads: 2})
	require.NoError(t, err)
	defer m.Close()
	p := &processor{model: m}
	o.Accelerator, o.Out = p, t.TempDir()+"/small.crayon"
	got, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, 48, p.features)
	require.Len(t, p.runs, 1)
	require.Contains(t, got.Made.Device, "processor, CPU")
	got.Made.Device = want.Made.Device
	require.Equal(t, same(t, want), same(t, got))
	o.Out = t.TempDir() + "/single.gguf"
	again, err := Single(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, single, again)
	require.Equal(t, 2, p.runs[1].SharedRank)

	p.err = errors.New("no power")
	_, err = Run(t.Context(), o)
	require.ErrorContains(t, err, "no power")
}
