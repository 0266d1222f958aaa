package main

import (
	"context"

	"crayon/internal/kernel"
	"crayon/internal/model"
)

// promptTokens are the tokens of a prefill that is counted.
const promptTokens = 512

// sizes counts what stays in memory.
func (s *subject) sizes(context.Context) error {
	m := s.device.Model
	s.add("resident.model", "bytes of the packed weights", int64(m.Bytes()), exact)
	s.add("resident.side", "bytes of the pool's packed adapters", int64(s.side.Bytes()), exact)
	s.add("resident.kv", "bytes of the key-value cache a position", int64(m.NewCache(promptTokens).Bytes()/promptTokens), exact)
	return nil
}

// work counts the products of passes and the weights they read, bare and under
// a blend.
func (s *subject) work(ctx context.Context) error {
	for _, under := range s.ways() {
		cache := s.device.Model.NewCache(promptTokens + 1)
		before := kernel.Done()
		if err := s.forward(ctx, cache, s.tokens(0, promptTokens), under.row); err != nil {
			return err
		}
		middle := kernel.Done()
		if err := s.forward(ctx, cache, s.tokens(1, 1), under.row); err != nil {
			return err
		}
		after := kernel.Done()
		s.add("prefill."+under.name+".products", "multiply-adds with weights of a prompt of 512 tokens"+under.what, middle.Products-before.Products, exact)
		s.add("decode."+under.name+".products", "multiply-adds with weights of a decoded token"+under.what, after.Products-middle.Products, exact)
		s.add("decode."+under.name+".read", "bytes of weights read for a decoded token"+under.what, after.Bytes-middle.Bytes, exact)
	}
	return nil
}

// prefill counts the heap's use by a prompt of 512 tokens, its cache included.
func (s *subject) prefill(ctx context.Context) error {
	for _, under := range s.ways() {
		u, err := least(func(run int, begin func()) error {
			tokens := s.tokens(run, promptTokens)
			begin()
			return s.forward(ctx, s.device.Model.NewCache(len(tokens)), tokens, under.row)
		})
		if err != nil {
			return err
		}
		s.addUsage("prefill."+under.name, "of a prompt of 512 tokens"+under.what, u, 1)
	}
	return nil
}

func (s *subject) forward(ctx context.Context, cache *model.Cache, tokens []int32, row []float32) error {
	in := []model.Input{{Cache: cache, Tokens: tokens, Row: row, Want: model.WantLast}}
	return s.device.Model.Forward(ctx, s.side, in, func(_, _ int, _ []float32) error { return nil })
}

// tokens are n tokens, others for another run.
func (s *subject) tokens(run, n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32((7*i + 31*run + 5) % s.device.Model.Config.Vocab)
	}
	return out
}

// way is a row of adapter weights.
type way struct {
	name, what string
	row        []float32
}

// ways are the base model and a blend.
func (s *subject) ways() []way {
	return []way{{"base", "", nil}, {"blend", ", under a blend", s.row()}}
}

// row is a blend as a customisation has it: as many adapters as the pool keeps,
// and the shared ones.
func (s *subject) row() []float32 {
	p := s.device.Pool
	members := make([]float32, len(p.Members))
	kept := 0
	for i, m := range p.Members {
		switch {
		case m.Shared:
			members[i] = 1
		case kept < p.Keep || p.Keep == 0:
			members[i] = 0.25
			kept++
		}
	}
	return s.device.Row(members)
}
