package device

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"crayon/internal/fault"
	"crayon/internal/model"
)

// The bounds of a joint forward pass.
const (
	mostTokens  = 512 // as many as go through the layers at a time
	shareTokens = 128 // of those that texts get while others wait for their next token
	grain       = 32  // texts are cut at multiples of this; what is no longer counts as short
)

// The next token of those who got one in the last pass is waited for, for this
// part of the pass's duration, within bounds. A pass costs nearly the same for
// one as for all of them.
const (
	patience     = 1.0 / 8
	leastWait    = 20 * time.Microsecond // below it a timer costs more than it brings
	greatestWait = 5 * time.Millisecond
)

// errUnfinished is what is left of a pass that panicked.
var errUnfinished = &fault.Error{Op: "compute", Err: errors.New("the forward pass broke off")}

// batcher joins what several callers want computed into common forward passes.
// It has no goroutine of its own: of the callers waiting, the one that came
// first leads, which is to run one pass for itself and for others; then the next
// one leads. So a lone caller goes straight through, nobody works for others
// longer than for one pass, and everyone gets on in the order of arrival.
type batcher struct {
	pass    model.Pass
	emitted func(input, token int, logits []float32) error // emit, made once
	seat    atomic.Uint64                                  // the last one given out

	mu       sync.Mutex
	leader   *turn         // runs a pass, or was told to; nil: nobody waits
	queue    []*turn       // waiting, the leader among them, by arrival
	awaited  []uint64      // seats whose next turn is expected soon
	gathers  bool          // the leader waits for those
	took     time.Duration // by the last pass
	passes   int64
	together int64

	// Of the leader alone.
	members []*turn
	inputs  []model.Input
	places  []place
	first   int // place of the pass's first input
	here    chan struct{}
	timer   *time.Timer
}

// turn is what one caller wants computed.
type turn struct {
	parts []part
	emit  func(part, token int, logits []float32) error // called on the leader's goroutine
	alone func() error                                  // in place of parts: has the model for itself
	seat  uint64                                        // of a caller that returns with another turn soon; else 0
	lone  bool                                          // the pass was this turn's alone
	wake  chan struct{}                                 // room for 1: the turn is finished, or leads

	ctx    context.Context
	state  state // guarded by the batcher's mu, like err until the turn is finished
	err    error
	spoilt error // of emit, in this pass
}

// part is an input on its way.
type part struct {
	model.Input
	done int // of its tokens
}

type state uint8

const (
	waiting state = iota
	running
	finished
)

// place is where an input of a pass comes from.
type place struct {
	turn *turn
	part int
}

func newBatcher(pass model.Pass) *batcher {
	b := &batcher{pass: pass, here: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	b.timer.Stop()
	b.emitted = b.emit
	return b
}

// newSeat is for a caller that will have turn after turn.
func (b *batcher) newSeat() uint64 { return b.seat.Add(1) }

// forward is model.Forward, shared with other callers; on an error a cache may
// hold some of its input's tokens. emit may be called from another goroutine.
func (b *batcher) forward(ctx context.Context, in []model.Input, emit func(input, token int, logits []float32) error) error {
	t := &turn{parts: make([]part, len(in)), emit: emit, wake: make(chan struct{}, 1)}
	for i := range in {
		t.parts[i].Input = in[i]
	}
	return b.run(ctx, t)
}

// exclusive runs f when its turn has come and no pass is under way.
func (b *batcher) exclusive(ctx context.Context, f func() error) error {
	return b.run(ctx, &turn{alone: f, wake: make(chan struct{}, 1)})
}

// run returns when t's parts are computed. On an error, also of ctx, each part
// says how much of it is done, and t may be run again to go on from there.
func (b *batcher) run(ctx context.Context, t *turn) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if t.alone == nil && t.left() == 0 {
		return nil
	}
	t.ctx, t.err = ctx, nil
	leads := b.enter(t)
	for {
		if !leads {
			select {
			case <-t.wake:
			case <-ctx.Done():
				if b.quit(t) {
					return ctx.Err()
				}
				<-t.wake // within one pass: its cache is being written
			}
			if t.state == finished {
				return t.err
			}
		}
		done := false
		if done, leads = b.lead(t); done {
			return t.err
		}
	}
}

// left is how many tokens are still to be computed.
func (t *turn) left() int {
	n := 0
	for i := range t.parts {
		n += len(t.parts[i].Tokens) - t.parts[i].done
	}
	return n
}

// enter puts t in the queue, and says whether it leads.
func (b *batcher) enter(t *turn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.strike(t.seat)
	t.state = waiting
	b.queue = append(b.queue, t)
	if b.leader == nil {
		b.leader = t
	}
	return b.leader == t
}

// quit takes t out of the queue; false if it is being computed, or leads.
func (b *batcher) quit(t *turn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.state != waiting || b.leader == t {
		return false
	}
	b.dequeue(t)
	return true
}

// gone says that a seat's caller does not return.
func (b *batcher) gone(seat uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.strike(seat)
}

// strike takes a seat off those awaited.
func (b *batcher) strike(seat uint64) {
	i := slices.Index(b.awaited, seat)
	if i < 0 {
		return
	}
	b.awaited = slices.Delete(b.awaited, i, i+1)
	if b.gathers && len(b.awaited) == 0 {
		b.gathers = false
		b.here <- struct{}{}
	}
}

func (b *batcher) dequeue(t *turn) {
	i := slices.Index(b.queue, t)
	b.queue = slices.Delete(b.queue, i, i+1)
}

// lead runs one pass, or what wants the model alone, and has the next turn lead.
// It says whether t is done, and, if not, whether it leads again.
func (b *batcher) lead(t *turn) (done, leads bool) {
	others := t.alone == nil && b.gather(t.ctx)
	b.mu.Lock()
	defer func() { // after a panic too: others wait
		if b.leader = nil; len(b.queue) > 0 {
			b.leader = b.queue[0]
		}
		if done, leads = t.state == finished, b.leader == t; b.leader != nil && !leads {
			b.leader.wake <- struct{}{}
		}
		b.mu.Unlock()
	}()
	if t.err = t.ctx.Err(); t.err != nil {
		b.dequeue(t)
		t.state = finished
		return
	}
	b.members, b.inputs, b.places = b.members[:0], b.inputs[:0], b.places[:0]
	if t.alone != nil {
		b.members = append(b.members, t)
	} else {
		b.pick(others)
	}
	b.work()
	return
}

// gather gives those who got a token in the last pass the time to ask for the
// next, and says whether there were any beside the caller.
func (b *batcher) gather(ctx context.Context) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.awaited) == 0 {
		return false
	}
	if wait := min(time.Duration(patience*float64(b.took)), greatestWait); wait >= leastWait {
		b.gathers = true
		b.mu.Unlock()
		b.timer.Reset(wait)
		select {
		case <-b.here:
		case <-b.timer.C:
		case <-ctx.Done():
		}
		b.timer.Stop()
		b.mu.Lock()
		if !b.gathers { // they are here, if only just
			select {
			case <-b.here:
			default:
			}
		}
		b.gathers = false
	}
	b.awaited = b.awaited[:0] // who comes later was not worth waiting for
	return true
}

// pick takes turns, or pieces of them, from the queue for one pass: all that is
// short, and of the texts as much as there is room for. The first of the queue
// is always among them.
func (b *batcher) pick(others bool) {
	room, kept := mostTokens, 0
	for _, t := range b.queue {
		if t.alone == nil && t.left() > grain {
			kept = shareTokens
		}
	}
	for _, t := range b.queue {
		if n := t.left(); t.alone == nil && n <= grain && n <= room-kept {
			room -= b.take(t, n)
			others = true
		}
	}
	if others {
		room = min(room, shareTokens)
	}
	for _, t := range b.queue {
		if t.alone == nil && t.left() > grain {
			room -= b.take(t, room)
		}
	}
}

// take adds up to room tokens of t to the pass, and returns their number.
func (b *batcher) take(t *turn, room int) int {
	used := 0
	for i := range t.parts {
		p := &t.parts[i]
		in := p.Input
		in.Tokens = p.Tokens[p.done:]
		cut := len(in.Tokens) > room-used
		if cut {
			in.Tokens = in.Tokens[:(room-used)/grain*grain]
			if in.Want == model.WantLast {
				in.Want = model.WantNone
			}
		}
		if len(in.Tokens) > 0 {
			b.inputs, b.places = append(b.inputs, in), append(b.places, place{t, i})
			used += len(in.Tokens)
		}
		if cut {
			break
		}
	}
	if used > 0 {
		b.members = append(b.members, t)
	}
	return used
}

// work does what the members want, without the lock. Turns that are not finished
// wait again, behind the others.
func (b *batcher) work() {
	for _, t := range b.members {
		b.dequeue(t)
		t.state, t.err = running, errUnfinished
	}
	b.mu.Unlock()
	start := time.Now()
	defer func() {
		took := time.Since(start)
		b.mu.Lock()
		if len(b.inputs) > 0 {
			b.took = took
			b.passes++
			b.together += int64(len(b.members))
		}
		for _, t := range b.members {
			b.settle(t)
		}
		clear(b.members)
		clear(b.inputs)
		clear(b.places)
	}()
	if t := b.members[0]; t.alone != nil {
		t.err = t.alone()
		return
	}
	b.compute()
}

// compute runs the pass. Should it fail, each turn is tried for itself, so that
// only those fail that must.
func (b *batcher) compute() {
	b.first = 0
	if len(b.members) > 1 {
		for _, t := range b.members {
			t.spoilt, t.lone = nil, false
		}
		if err := b.pass(context.Background(), b.inputs, b.emitted); err == nil {
			b.advance(0, len(b.inputs))
			return
		}
	}
	for lo, hi := 0, 0; lo < len(b.inputs); lo = hi {
		t := b.places[lo].turn
		for hi = lo; hi < len(b.inputs) && b.places[hi].turn == t; hi++ {
		}
		t.spoilt, t.lone, b.first = nil, true, lo
		if err := b.pass(t.ctx, b.inputs[lo:hi], b.emitted); err != nil {
			t.err = err
			continue
		}
		b.advance(lo, hi)
	}
}

// advance notes that inputs [lo, hi) are computed.
func (b *batcher) advance(lo, hi int) {
	for i := lo; i < hi; i++ {
		at := b.places[i]
		at.turn.parts[at.part].done += len(b.inputs[i].Tokens)
		at.turn.err = at.turn.spoilt
	}
}

// emit hands logits on to the turn that wants them; its error is its own.
func (b *batcher) emit(input, token int, logits []float32) error {
	at := b.places[b.first+input]
	if t := at.turn; t.spoilt == nil {
		t.spoilt = t.emit(at.part, t.parts[at.part].done+token, logits)
	}
	return nil
}

// settle ends a turn after a pass, or puts it back into the queue.
func (b *batcher) settle(t *turn) {
	if t.err == nil && t.alone == nil && t.left() > 0 {
		if t.err = t.ctx.Err(); t.err == nil {
			t.state = waiting
			b.queue = append(b.queue, t)
			return
		}
	}
	t.state = finished
	if t.err == nil && t.seat != 0 {
		b.awaited = append(b.awaited, t.seat)
	}
	if t != b.leader {
		t.wake <- struct{}{}
	}
}
