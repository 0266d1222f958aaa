package peer

import (
	"context"
	"fmt"
	"time"

	"crayon"
	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/kernel"
	"crayon/internal/model"
	"crayon/internal/pool"
)

// crayonEngine is Crayon's fast path.
type crayonEngine struct {
	setup  Setup
	m      *model.Model
	side   *model.Side
	rows   [][]float32 // one a sequence, the last for all further ones; none for the base model
	base   bool        // answers without rows
	caches []*model.Cache
}

func openCrayon(s Setup) (engine, error) {
	m, err := model.Open(s.Model, model.Options{Threads: s.Threads})
	if err != nil {
		return nil, err
	}
	e := &crayonEngine{setup: s, m: m}
	if err := e.adapt(s); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

func (e *crayonEngine) adapt(s Setup) error {
	if len(s.Adapters) > 0 {
		return e.setAdapters(s.Adapters, s.Scales)
	}
	if s.Blends == 0 {
		return nil
	}
	p, err := crayon.OpenPool(s.Pool)
	if err != nil {
		return err
	}
	for i := range s.Blends {
		e.rows = append(e.rows, p.Stack.RowWeights(members(p, i, s.Blends)))
	}
	e.side, err = e.m.NewSide(p.Stack)
	p.Forget()
	return err
}

// members is one weight a member of the pool, for user i of n: as many blended
// ones as a customisation keeps, other ones for every user, the larger weights
// first, with sum 1; and the shared ones in full.
func members(p *pool.Pool, i, n int) []float32 {
	w := make([]float32, len(p.Members))
	for k, m := range p.Members {
		if m.Shared {
			w[k] = 1
		}
	}
	blended := p.Blended()
	keep := min(p.Keep, len(blended))
	sum := keep * (keep + 1) / 2
	for k := range keep {
		w[blended[(i*len(blended)/n+k)%len(blended)]] = float32(keep-k) / float32(sum)
	}
	return w
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
	e.rows = [][]float32{stack.RowWeights(scales)}
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
	const keyAndValue, half = 2, 2
	return Size{Linear: n * c.Layers, Bytes: e.m.Bytes(), Cache: keyAndValue * half * c.Layers * c.KVHeads * c.HeadDim}
}

func (e *crayonEngine) clear() error {
	for _, c := range e.caches {
		c.Truncate(0)
	}
	return nil
}

// useBase has it answer without customisations, or with them again.
func (e *crayonEngine) useBase(base bool) { e.base = base }

// row is the customisation of sequence i.
func (e *crayonEngine) row(i int) []float32 {
	if e.base || len(e.rows) == 0 {
		return nil
	}
	return e.rows[min(i, len(e.rows)-1)]
}

func (e *crayonEngine) next(tokens [][]int32, out []int32) error {
	for len(e.caches) < len(tokens) {
		room := e.setup.Room
		if room == 0 {
			room = maxTokens
		}
		e.caches = append(e.caches, e.m.NewCache(room))
	}
	in := make([]model.Input, len(tokens))
	for i, t := range tokens {
		in[i] = model.Input{Cache: e.caches[i], Tokens: t, Row: e.row(i), Want: model.WantLast}
	}
	return e.m.Forward(context.Background(), e.side, in, func(i, _ int, logits []float32) error {
		out[i] = int32(kernel.MaxIndex(logits))
		return nil
	})
}

func (e *crayonEngine) score(a Ask, _ bool) ([]float64, error) {
	lps, err := e.m.LogProbs(context.Background(), e.side, []model.Ask{{Prefix: a.Prompt, Answers: a.Choices, Row: e.row(0)}})
	if err != nil {
		return nil, err
	}
	s := make([]float64, len(a.Choices))
	for i, lp := range lps[0] {
		s[i] = model.Mean(lp)
	}
	return s, nil
}

func (e *crayonEngine) open() (time.Duration, error) {
	start := time.Now()
	m, err := model.Open(e.setup.Model, model.Options{Threads: e.setup.Threads})
	took := time.Since(start)
	if err != nil {
		return 0, err
	}
	return took, m.Close()
}

func (e *crayonEngine) close() { e.m.Close() }
