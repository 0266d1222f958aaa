package kernel

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// How long a worker looks for the next work, and For for the end of its own,
// before it sleeps. A hand-off to a sleeping goroutine takes about 5 us and
// the gaps between the products of a layer a few, so a running model never
// finds its workers asleep, and an idle one uses no processor.
const (
	spinTime   = 40 * time.Microsecond
	spinPauses = 8 // PAUSE instructions between two looks
)

// Team is a set of workers that share out loops. NewTeam makes
// one; a nil Team runs everything on the calling goroutine.
type Team struct {
	threads int
	busy    sync.Mutex // held by the For in progress

	generation atomic.Uint32
	// ranges are the chunks by the thread that is to do them: neighbours, as
	// what lies side by side is read faster. A thread that is done with its own
	// helps the others. A chunk is a thread's once it has counted the range's
	// place on, and only then does it read the fields below.
	ranges []chunkRange
	body   func(lo, hi int)
	n      int
	grain  int
	chunks int

	pending atomic.Int64 // chunks not yet finished
	closed  atomic.Bool

	mu       sync.Mutex
	work     sync.Cond // a new generation, or closed
	finished sync.Cond // pending is 0
	sleeping atomic.Int32
	waiting  atomic.Bool
	workers  sync.WaitGroup
}

// chunkRange is a range of chunks, alone on its cache lines: generation<<32 |
// the next chunk, and where the range ends.
type chunkRange struct {
	next atomic.Uint64
	end  atomic.Uint32
	_    [116]byte
}

// NewTeam starts threads-1 workers; the goroutine that calls For is the last.
// threads below 1 means one for each processor that Go may use.
func NewTeam(threads int) *Team {
	if threads < 1 {
		threads = runtime.GOMAXPROCS(0)
	}
	t := &Team{threads: threads, ranges: make([]chunkRange, threads)}
	t.work.L, t.finished.L = &t.mu, &t.mu
	for i := 1; i < threads; i++ {
		t.workers.Go(func() { t.serve(i) })
	}
	return t
}

// Threads is the number of goroutines a For runs on; 1 for a nil Team.
func (t *Team) Threads() int {
	if t == nil {
		return 1
	}
	return t.threads
}

// Close ends the workers and waits for them. A For after it runs inline.
func (t *Team) Close() {
	if t == nil {
		return
	}
	t.busy.Lock()
	defer t.busy.Unlock()
	t.closed.Store(true)
	t.mu.Lock()
	t.work.Broadcast()
	t.mu.Unlock()
	t.workers.Wait()
}

// For calls body on ranges that together are [0,n), each of grain numbers (the
// last may be shorter), on all threads at once, and returns when all are done.
// Ranges are handed out as threads get free. Where there is nothing to share
// out, and for a For inside a body or beside another For of the team, body is
// called once, with all of [0,n), on the calling goroutine.
func (t *Team) For(n, grain int, body func(lo, hi int)) {
	if n <= 0 {
		return
	}
	grain = max(grain, 1)
	if t == nil || t.threads == 1 || n <= grain || !t.busy.TryLock() {
		body(0, n)
		return
	}
	defer t.busy.Unlock()
	if t.closed.Load() {
		body(0, n)
		return
	}
	t.body, t.n, t.grain, t.chunks = body, n, grain, (n+grain-1)/grain
	t.pending.Store(int64(t.chunks))
	generation := t.generation.Load() + 1
	for i := range t.ranges {
		r := &t.ranges[i]
		// Taken away from threads that still look at the last generation, before
		// the end that they compare with changes.
		r.next.Store(uint64(generation)<<32 | math.MaxUint32)
		r.end.Store(uint32(t.chunks * (i + 1) / t.threads))
		r.next.Store(uint64(generation)<<32 | uint64(t.chunks*i/t.threads))
	}
	t.generation.Store(generation)
	if t.sleeping.Load() > 0 {
		t.mu.Lock()
		t.work.Broadcast()
		t.mu.Unlock()
	}
	t.run(0, generation)
	t.await()
	t.body = nil
}

// run does chunks of a generation until none is left: those of the thread
// first, then those of the others.
func (t *Team) run(thread int, generation uint32) {
	for i := range t.ranges {
		r := &t.ranges[(thread+i)%t.threads]
		for {
			s := r.next.Load()
			if uint32(s>>32) != generation {
				return
			}
			if uint32(s) >= r.end.Load() {
				break
			}
			if !r.next.CompareAndSwap(s, s+1) {
				continue
			}
			lo := int(uint32(s)) * t.grain
			t.body(lo, min(lo+t.grain, t.n))
			if t.pending.Add(-1) == 0 && t.waiting.Load() {
				t.mu.Lock()
				t.finished.Broadcast()
				t.mu.Unlock()
			}
		}
	}
}

// await returns when no chunk is pending.
func (t *Team) await() {
	if spin(func() bool { return t.pending.Load() == 0 }) {
		return
	}
	t.waiting.Store(true)
	t.mu.Lock()
	for t.pending.Load() != 0 {
		t.finished.Wait()
	}
	t.mu.Unlock()
	t.waiting.Store(false)
}

// serve is a worker's life.
func (t *Team) serve(thread int) {
	var last uint32
	fresh := func() bool {
		return t.generation.Load() != last || t.closed.Load()
	}
	for {
		if !spin(fresh) {
			t.mu.Lock()
			t.sleeping.Add(1)
			for !fresh() {
				t.work.Wait()
			}
			t.sleeping.Add(-1)
			t.mu.Unlock()
		}
		if t.closed.Load() {
			return
		}
		last = t.generation.Load()
		t.run(thread, last)
	}
}

// spin looks at ready for at most spinTime and returns what it last said.
func spin(ready func() bool) bool {
	var end time.Time
	for i := 0; ; i++ {
		if ready() {
			return true
		}
		if i%16 == 15 {
			now := time.Now()
			if end.IsZero() {
				end = now.Add(spinTime)
			} else if now.After(end) {
				return false
			}
		}
		pause(spinPauses)
	}
}
