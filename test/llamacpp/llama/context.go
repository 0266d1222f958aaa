package llama

import (
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"crayon/internal/fault"
)

// ContextOptions sizes an evaluation context.
type ContextOptions struct {
	Tokens    int  // cells of the KV cache, over all sequences
	Batch     int  // most tokens of one Decode; 0 means 512
	Sequences int  // most sequences; 0 means 1
	Threads   int  // 0 means all cores
	Exact     bool // F32 KV cache and no fused attention, for comparing numbers
}

// Context evaluates tokens and holds their KV cache. Not for concurrent use.
type Context struct {
	model   *Model
	handle  uintptr
	memory  uintptr
	batch   batchStruct
	options ContextOptions
}

// NewContext makes an evaluation context of the model.
func (m *Model) NewContext(o ContextOptions) (*Context, error) {
	if o.Batch == 0 {
		o.Batch = 512
	}
	if o.Sequences == 0 {
		o.Sequences = 1
	}
	if o.Threads == 0 {
		o.Threads = runtime.NumCPU()
	}
	p := m.lib.ctxDefault()
	p.nCtx = uint32(o.Tokens)
	p.nBatch, p.nUbatch = uint32(o.Batch), uint32(o.Batch)
	p.nSeqMax = uint32(o.Sequences)
	p.nThreads, p.nThreadsBatch = int32(o.Threads), int32(o.Threads)
	p.kvUnified = o.Sequences > 1 // a prefix can be shared between sequences only in one common cache
	p.noPerf = true
	if o.Exact {
		p.typeK, p.typeV = typeF32, typeF32
		p.flash = flashOff
	}
	h := m.lib.initContext(m.handle, p)
	if h == 0 {
		return nil, &fault.Error{Op: "make llama.cpp context", Path: m.path, Err: reason("refused")}
	}
	return &Context{
		model: m, handle: h, memory: m.lib.memory(h), options: o,
		batch: m.lib.batchInit(int32(o.Batch), 0, int32(o.Sequences)),
	}, nil
}

// Close frees the context.
func (c *Context) Close() {
	if c.handle != 0 {
		c.model.lib.batchFree(c.batch)
		c.model.lib.freeContext(c.handle)
		c.handle = 0
	}
}

// Input is one token to evaluate.
type Input struct {
	Token    int32
	Position int
	Sequence int
	Also     []int // further sequences that the token belongs to
	Logits   bool  // keep the logits after this token
}

// Run gives tokens consecutive positions from first in one sequence, with the
// logits of the last kept, or of all.
func Run(sequence, first int, tokens []int32, all bool) []Input {
	in := make([]Input, len(tokens))
	for i, t := range tokens {
		in[i] = Input{Token: t, Position: first + i, Sequence: sequence, Logits: all || i == len(tokens)-1}
	}
	return in
}

// Decode evaluates at most Batch tokens as one batch.
func (c *Context) Decode(in []Input) error {
	if len(in) == 0 || len(in) > c.options.Batch {
		return c.fail(fmt.Errorf("%d tokens in a batch of 1 to %d", len(in), c.options.Batch))
	}
	vocab := int32(c.model.Vocab())
	n := len(in)
	tokens, pos := unsafe.Slice(c.batch.token, n), unsafe.Slice(c.batch.pos, n)
	counts, seqs := unsafe.Slice(c.batch.nSeq, n), unsafe.Slice(c.batch.seq, n)
	keep := unsafe.Slice(c.batch.logits, n)
	for i, t := range in {
		if t.Token < 0 || t.Token >= vocab || t.Position < 0 || t.Sequence < 0 || t.Sequence >= c.options.Sequences {
			return c.fail(fmt.Errorf("input %d: token %d, position %d, sequence %d out of range", i, t.Token, t.Position, t.Sequence))
		}
		if len(t.Also) >= c.options.Sequences || slices.ContainsFunc(t.Also, func(s int) bool { return s < 0 || s >= c.options.Sequences }) {
			return c.fail(fmt.Errorf("input %d: sequences %v out of range", i, t.Also))
		}
		tokens[i], pos[i], counts[i] = t.Token, int32(t.Position), int32(1+len(t.Also))
		of := unsafe.Slice(seqs[i], 1+len(t.Also))
		of[0] = int32(t.Sequence)
		for j, s := range t.Also {
			of[1+j] = int32(s)
		}
		keep[i] = 0
		if t.Logits {
			keep[i] = 1
		}
	}
	b := c.batch
	b.n = int32(n)
	if rc := c.model.lib.decode(c.handle, b); rc != 0 {
		return c.fail(reason(fmt.Sprintf("code %d", rc)))
	}
	return nil
}

// Logits gives the logits after input i of the last batch (-1: the last one
// kept), in C's memory: valid until the next Decode.
func (c *Context) Logits(i int) ([]float32, error) {
	p := c.model.lib.logits(c.handle, int32(i))
	if p == nil {
		return nil, c.fail(reason(fmt.Sprintf("no logits were kept for input %d", i)))
	}
	return unsafe.Slice(p, c.model.Vocab()), nil
}

// Score evaluates tokens from an empty cache in sequence 0 and calls each with
// the logits after every token in turn; the row is valid during the call.
func (c *Context) Score(tokens []int32, each func(i int, logits []float32) error) error {
	c.Clear()
	for lo := 0; lo < len(tokens); lo += c.options.Batch {
		hi := min(lo+c.options.Batch, len(tokens))
		if err := c.Decode(Run(0, lo, tokens[lo:hi], true)); err != nil {
			return err
		}
		for i := lo; i < hi; i++ {
			row, err := c.Logits(i - lo)
			if err != nil {
				return err
			}
			if err := each(i, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// Clear empties the KV cache of every sequence.
func (c *Context) Clear() { c.model.lib.memoryClear(c.memory, true) }

// Forget is Clear without writing zeros over what was there.
func (c *Context) Forget() { c.model.lib.memoryClear(c.memory, false) }

// Copy makes sequence to share the cells of sequence from in positions
// [first, end); end -1 means to its last.
func (c *Context) Copy(from, to, first, end int) {
	c.model.lib.seqCopy(c.memory, int32(from), int32(to), int32(first), int32(end))
}

// Remove drops positions [first, end) of a sequence; end -1 means to its last.
// False when the cache cannot drop only part of it.
func (c *Context) Remove(sequence, first, end int) bool {
	return c.model.lib.seqRemove(c.memory, int32(sequence), int32(first), int32(end))
}

// SetAdapters makes the context add these adapters with these scales, instead
// of those set before; none at all is the base model.
func (c *Context) SetAdapters(adapters []*Adapter, scales []float32) error {
	if len(adapters) != len(scales) {
		return c.fail(fmt.Errorf("%d adapters, %d scales", len(adapters), len(scales)))
	}
	handles := make([]uintptr, len(adapters)+1) // one more, so that &handles[0] exists
	factors := make([]float32, len(scales)+1)
	for i, a := range adapters {
		handles[i], factors[i] = a.handle, scales[i]
	}
	if rc := c.model.lib.setAdapters(c.handle, &handles[0], uint64(len(adapters)), &factors[0]); rc != 0 {
		return c.fail(reason(fmt.Sprintf("adapters refused, code %d", rc)))
	}
	return nil
}

func (c *Context) fail(err error) error {
	return &fault.Error{Op: "evaluate with llama.cpp", Path: c.model.path, Err: err}
}
