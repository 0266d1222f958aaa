package peer

import (
	"context"
	"fmt"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/kernel"
	"crayon/internal/model"
)

// crayonEngine is Crayon's fast path.
type crayonEngine struct {
	m      *model.Model
	side   *model.Side
	row    []float32
	cache  *model.Cache
	logits []float32
}

func openCrayon(s Setup) (engine, error) {
	m, err := model.Open(s.Model, model.Options{Threads: s.Threads})
	if err != nil {
		return nil, err
	}
	e := &crayonEngine{m: m, logits: make([]float32, m.Config.Vocab)}
	if len(s.Adapters) > 0 {
		if err := e.setAdapters(s.Adapters, s.Scales); err != nil {
			e.close()
			return nil, err
		}
	}
	return e, e.clear()
}

func (e *crayonEngine) setAdapters(paths []string, scales []float32) error {
	var all []*adapter.Adapter
	for _, path := range paths {
		a, err := adapter.ReadGGUF(path, e.m.Config)
		if err != nil {
			return err
		}
		all = append(all, a)
	}
	stack, err := adapter.NewStack(all)
	if err != nil {
		return err
	}
	if len(scales) != stack.Adapters {
		return fmt.Errorf("%d adapters, %d scales", stack.Adapters, len(scales))
	}
	e.row = stack.RowWeights(scales)
	e.side, err = e.m.NewSide(stack)
	return err
}

func (e *crayonEngine) name() string { return "crayon (" + kernel.Current().String() + ")" }

func (e *crayonEngine) vocab() int { return e.m.Config.Vocab }

func (e *crayonEngine) size() Size {
	c := e.m.Config
	n := 0
	for k := range arch.Kinds {
		out, in := c.Shape(k)
		n += out * in
	}
	return Size{Linear: n * c.Layers, Bytes: e.m.Bytes()}
}

func (e *crayonEngine) clear() error {
	if e.cache == nil {
		e.cache = e.m.NewCache(maxTokens)
	}
	e.cache.Truncate(0)
	return nil
}

func (e *crayonEngine) decode(tokens []int32) ([]float32, error) {
	in := []model.Input{{Cache: e.cache, Tokens: tokens, Row: e.row, Want: model.WantLast}}
	err := e.m.Forward(context.Background(), e.side, in, func(_, _ int, logits []float32) error {
		copy(e.logits, logits)
		return nil
	})
	return e.logits, err
}

func (e *crayonEngine) close() { e.m.Close() }
