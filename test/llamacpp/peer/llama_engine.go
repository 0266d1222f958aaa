package peer

import (
	"fmt"

	"crayon/internal/kernel"
	"crayon/test/llamacpp/llama"
)

// llamaEngine is llama.cpp with its defaults for a CPU.
type llamaEngine struct {
	lib  *llama.Library
	m    *llama.Model
	c    *llama.Context
	used []int // positions of each sequence
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
	n := max(s.Sequences, 1)
	c, err := m.NewContext(llama.ContextOptions{Tokens: maxTokens, Threads: s.Threads, Sequences: n})
	if err != nil {
		m.Close()
		return nil, err
	}
	e := &llamaEngine{lib: lib, m: m, c: c, used: make([]int, n)}
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
	clear(e.used)
	return nil
}

func (e *llamaEngine) next(tokens [][]int32, out []int32) error {
	if len(tokens) > len(e.used) {
		return fmt.Errorf("%d sequences, set up for %d", len(tokens), len(e.used))
	}
	var in []llama.Input
	ends := make([]int, len(tokens))
	for i, t := range tokens {
		in = append(in, llama.Run(i, e.used[i], t, false)...)
		e.used[i] += len(t)
		ends[i] = len(in) - 1
	}
	if err := e.c.Decode(in); err != nil {
		return err
	}
	for i, end := range ends {
		logits, err := e.c.Logits(end)
		if err != nil {
			return err
		}
		out[i] = int32(kernel.MaxIndex(logits))
	}
	return nil
}

// score computes the prompt once: as sequence 0, whose cells the choices'
// sequences then share, or (joint) in one batch with the choices, as tokens of
// all their sequences. Logits are kept only where a token follows.
func (e *llamaEngine) score(a Ask, joint bool) ([]float64, error) {
	if len(a.Choices) >= len(e.used) {
		return nil, fmt.Errorf("%d choices and their prompt, set up for %d sequences", len(a.Choices), len(e.used))
	}
	e.c.Forget()
	clear(e.used)
	prompt := llama.Run(0, 0, a.Prompt, false)
	heads := make([]int32, len(a.Choices))
	for j, ids := range a.Choices {
		heads[j] = ids[0]
	}
	var scores []float64
	var in []llama.Input
	var err error
	if joint {
		for i := range prompt {
			for j := range a.Choices {
				prompt[i].Also = append(prompt[i].Also, j+1)
			}
		}
		in = prompt
	} else {
		if err := e.c.Decode(prompt); err != nil {
			return nil, err
		}
		if scores, err = e.logProbs(len(prompt)-1, heads...); err != nil {
			return nil, err
		}
		for j := range a.Choices {
			e.c.Copy(0, j+1, 0, -1)
		}
	}
	starts := make([]int, len(a.Choices))
	for j, ids := range a.Choices {
		starts[j] = len(in)
		in = append(in, llama.Run(j+1, len(prompt), ids[:len(ids)-1], true)...)
	}
	if err := e.c.Decode(in); err != nil {
		return nil, err
	}
	if joint {
		if scores, err = e.logProbs(len(prompt)-1, heads...); err != nil {
			return nil, err
		}
	}
	for j, ids := range a.Choices {
		for k, id := range ids[1:] {
			lp, err := e.logProbs(starts[j]+k, id)
			if err != nil {
				return nil, err
			}
			scores[j] += lp[0]
		}
		scores[j] /= float64(len(ids))
	}
	return scores, nil
}

// logProbs are those of the tokens ids after an input of the last batch.
func (e *llamaEngine) logProbs(input int, ids ...int32) ([]float64, error) {
	logits, err := e.c.Logits(input)
	if err != nil {
		return nil, err
	}
	norm := kernel.LogSumExp(logits)
	lp := make([]float64, len(ids))
	for i, id := range ids {
		lp[i] = float64(logits[id] - norm)
	}
	return lp, nil
}

func (e *llamaEngine) close() {
	e.c.Close()
	e.m.Close() // frees its adapters too
}
