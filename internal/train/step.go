package train

import (
	"context"
	"sync"
	"sync/atomic"

	"crayon/internal/kernel"
	"crayon/internal/reference"
)

// crew runs the micro-batches of a step on several workers and adds their
// gradients up in the order of the micro-batches, whichever ends first.
type crew struct {
	workers []*worker
	free    chan []float32 // gradient buffers; their number bounds the memory
	total   []float32      // the step's gradient
	stripes []stripe
}

// stripe is a range of the gradient that is added up under one lock, so that
// several workers add at once.
type stripe struct {
	sync.Mutex
	lo, hi int
	next   int // the micro-batch to add next
}

// spareBuffers lets a worker go on while an earlier micro-batch is unfinished.
const spareBuffers = 2

func newCrew(c Config, p *Params, l *reference.Linears) *crew {
	size := len(p.Values)
	w := &crew{total: kernel.Floats(size), free: make(chan []float32, c.Workers+spareBuffers)}
	for range c.Workers {
		w.workers = append(w.workers, newWorker(c, p, l))
	}
	for range cap(w.free) {
		w.free <- nil // allocated when first used
	}
	count := min(size, 4*c.Workers)
	w.stripes = make([]stripe, count)
	for i := range w.stripes {
		w.stripes[i].lo, w.stripes[i].hi = i*size/count, (i+1)*size/count
	}
	return w
}

// buffer is one micro-batch's gradient on its way to the total.
type buffer struct {
	grad []float32
	left atomic.Int32 // stripes that have not added it
	done atomic.Bool
}

// run computes a step's gradient into total. Nothing of the parameters changes.
func (w *crew) run(ctx context.Context, s Step, tasks []Task) (Tally, error) {
	buffers := make([]buffer, len(s.Micro))
	tallies := make([]Tally, len(s.Micro))
	errs := make([]error, len(s.Micro))
	for i := range w.stripes {
		w.stripes[i].next = 0
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	stop := func() bool { return ctx.Err() != nil }
	for id, one := range w.workers[:min(len(w.workers), len(s.Micro))] {
		wait.Go(func() {
			for {
				// The buffer first, then the number: so the lowest unfinished
				// micro-batch always has a buffer, and the others' come free.
				grad := <-w.free
				i := int(next.Add(1)) - 1
				if i >= len(s.Micro) || stop() {
					w.free <- grad
					return
				}
				if grad == nil {
					grad = kernel.Floats(len(w.total))
				}
				batch := make([]Task, len(s.Micro[i]))
				for j, t := range s.Micro[i] {
					batch[j] = tasks[t]
				}
				buffers[i].grad = grad
				buffers[i].left.Store(int32(len(w.stripes)))
				tallies[i], errs[i] = one.run(batch, 1/float64(s.Examples), grad, stop)
				buffers[i].done.Store(true)
				w.reduce(buffers, id)
			}
		})
	}
	wait.Wait()
	var sum Tally
	for i, t := range tallies {
		if errs[i] != nil {
			return sum, errs[i]
		}
		sum.Loss += t.Loss
		sum.Ranked += t.Ranked
		sum.Right += t.Right
	}
	return sum, ctx.Err()
}

// reduce adds to every stripe all that is ready in order, beginning at another
// stripe for each worker. The last to look at a stripe sees all that is done.
func (w *crew) reduce(buffers []buffer, from int) {
	for k := range w.stripes {
		s := &w.stripes[(4*from+k)%len(w.stripes)]
		s.Lock()
		for s.next < len(buffers) && buffers[s.next].done.Load() {
			b := &buffers[s.next]
			if s.next == 0 {
				copy(w.total[s.lo:s.hi], b.grad[s.lo:s.hi])
			} else {
				kernel.Add(w.total[s.lo:s.hi], b.grad[s.lo:s.hi])
			}
			s.next++
			if b.left.Add(-1) == 0 {
				w.free <- b.grad
			}
		}
		s.Unlock()
	}
}
