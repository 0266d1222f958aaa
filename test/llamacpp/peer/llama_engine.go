package peer

import (
	"fmt"

	"crayon/test/llamacpp/llama"
)

// llamaEngine is llama.cpp with its defaults for a CPU.
type llamaEngine struct {
	lib  *llama.Library
	m    *llama.Model
	c    *llama.Context
	used int
}

func openLlama(s Setup) (engine, error) {
	lib, err := llama.Open(s.Library)
	if err != nil {
		return nil, err
	}
	m, err := lib.Load(s.Model)
	if err != nil {
		return nil, err
	}
	c, err := m.NewContext(llama.ContextOptions{Tokens: maxTokens, Threads: s.Threads})
	if err != nil {
		m.Close()
		return nil, err
	}
	e := &llamaEngine{lib: lib, m: m, c: c}
	var adapters []*llama.Adapter
	for _, path := range s.Adapters {
		a, err := m.LoadAdapter(path)
		if err != nil {
			e.close()
			return nil, err
		}
		adapters = append(adapters, a)
	}
	if len(adapters) > 0 {
		if err := c.SetAdapters(adapters, s.Scales); err != nil {
			e.close()
			return nil, err
		}
	}
	return e, nil
}

func (e *llamaEngine) name() string {
	return fmt.Sprintf("llama.cpp %s (%s)", e.lib.Version(), e.lib.SystemInfo())
}

func (e *llamaEngine) vocab() int { return e.m.Vocab() }

func (e *llamaEngine) size() Size { return Size{} }

func (e *llamaEngine) clear() error {
	e.c.Clear()
	e.used = 0
	return nil
}

func (e *llamaEngine) decode(tokens []int32) ([]float32, error) {
	if err := e.c.Decode(llama.Run(0, e.used, tokens, false)); err != nil {
		return nil, err
	}
	e.used += len(tokens)
	return e.c.Logits(-1)
}

func (e *llamaEngine) close() {
	e.c.Close()
	e.m.Close() // frees its adapters too
}
