package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Low is the low-rank part of a Job: Dst += z B^T, where row r of z is row r of
// acts * A^T times Weights[r], value by value. Its memory is used again from
// MatMul to MatMul; one at a time.
type Low struct {
	A, B    *Matrix     // rank x inputs, outputs x rank; B may have further columns, which count as 0
	Weights [][]float32 // for each row of the activations one weight a row of A; rows of A beyond them count as 0, and so does all of a nil

	z    []float32
	acts Acts
}

// prepare makes room for n rows.
func (l *Low) prepare(n int) {
	if need := n * l.B.cols; cap(l.z) < need {
		l.z = aligned[float32](need)
	} else {
		l.z = l.z[:need]
	}
	l.acts.Set(nil, l.z, n, l.B.cols)
}

// job is the product with A.
func (l *Low) job() Job { return Job{W: l.A, Dst: l.z, Stride: l.B.cols} }

// weigh multiplies the rows lo..hi of z with their weights.
func (l *Low) weigh(lo, hi int) {
	for r := lo; r < hi; r++ {
		z, w := l.z[r*l.B.cols:(r+1)*l.B.cols], l.Weights[r]
		w = w[:min(len(w), l.A.rows)]
		Mul(z[:len(w)], z[:len(w)], w)
		clear(z[len(w):])
	}
}

// reduce makes the z of all jobs, before their products.
func reduce(t *Team, a *Acts, jobs []Job) {
	r := newRelay(a, jobs)
	multiply(t, a, r.as)
	t.For(a.n, 32, r.weigh)
	r.quantise(t)
	r.done()
}

// relay does the products of a few rows with their low-rank parts as one loop
// over the team. As three loops, waiting for each other's ends would take as
// long as the smaller of the products. Each thread's range of the loop, its
// lane, is some panels of the As, then its part of the Ws, then the Bs of that
// part: what it needs of the others is done by the time it gets there.
type relay struct {
	acts   *Acts
	jobs   []Job
	lanes  int
	as     []Job          // products with A
	left   atomic.Int32   // pieces of the As to be done
	ready  atomic.Bool    // the z are weighed and quantised
	behind []atomic.Int32 // pieces of a lane's W to be done
	run    func(lo, hi int)
	weigh  func(lo, hi int)
}

// Pieces of a lane: enough that a thread that is early has something to take
// over, few enough that weights are read in order.
const (
	firstPieces = 2
	mainPieces  = 4
	lastPieces  = 2
)

var relays = sync.Pool{New: func() any {
	r := new(relay)
	r.run, r.weigh = r.share, r.weighRows
	return r
}}

func newRelay(a *Acts, jobs []Job) *relay {
	r := relays.Get().(*relay)
	r.acts, r.jobs, r.as = a, append(r.jobs[:0], jobs...), r.as[:0]
	for i := range jobs {
		if l := jobs[i].Low; l != nil {
			r.as = append(r.as, l.job())
		}
	}
	return r
}

func (r *relay) done() {
	r.acts = nil
	clear(r.jobs)
	clear(r.as)
	relays.Put(r)
}

// weighRows weighs the rows lo..hi of all z.
func (r *relay) weighRows(lo, hi int) {
	for i := range r.jobs {
		if l := r.jobs[i].Low; l != nil {
			l.weigh(lo, hi)
		}
	}
}

// quantise makes the int8 form of all z whose B needs it.
func (r *relay) quantise(t *Team) {
	for i := range r.jobs {
		if l := r.jobs[i].Low; l != nil && l.B.form != formFloat {
			l.acts.quantise(t)
		}
	}
}

// interleave does the jobs for fewer rows than a large tile has.
func interleave(t *Team, a *Acts, jobs []Job) {
	r := newRelay(a, jobs)
	r.lanes = t.Threads()
	r.left.Store(int32(r.lanes * firstPieces))
	r.ready.Store(false)
	if len(r.behind) < r.lanes {
		r.behind = make([]atomic.Int32, r.lanes)
	}
	for i := range r.lanes {
		r.behind[i].Store(mainPieces)
	}
	t.For(r.lanes*(firstPieces+mainPieces+lastPieces), 1, r.run)
	r.done()
}

// share does the pieces lo..hi. Where they are of several kinds, as when one
// thread does all, the kinds go one after the other, so that it never waits
// for itself.
func (r *relay) share(lo, hi int) {
	lane := firstPieces + mainPieces + lastPieces
	for kind := range 3 {
		for i := lo; i < hi; i++ {
			l, k := i/lane, i%lane
			switch {
			case k < firstPieces:
				if kind == 0 {
					r.first(l*firstPieces + k)
				}
			case k < firstPieces+mainPieces:
				if kind == 1 {
					each(r.jobs, l*mainPieces+k-firstPieces, r.lanes*mainPieces, func(j *Job, from, to int) {
						r.rows(j.W, r.acts, j, j.Add, from, to)
					})
					r.behind[l].Add(-1)
				}
			case kind == 2:
				await(func() bool { return r.ready.Load() && r.behind[l].Load() == 0 })
				each(r.jobs, l*lastPieces+k-firstPieces-mainPieces, r.lanes*lastPieces, func(j *Job, from, to int) {
					if j.Low != nil {
						r.rows(j.Low.B, &j.Low.acts, j, true, from, to)
					}
				})
			}
		}
	}
}

// first does a piece of the As; whoever does the last one weighs and quantises.
func (r *relay) first(piece int) {
	each(r.as, piece, r.lanes*firstPieces, func(j *Job, from, to int) {
		r.rows(j.W, r.acts, j, false, from, to)
	})
	if r.left.Add(-1) > 0 {
		return
	}
	r.weighRows(0, r.acts.n)
	r.quantise(nil)
	r.ready.Store(true)
}

// rows does the panels from..to for all rows.
func (r *relay) rows(w *Matrix, a *Acts, j *Job, sum bool, from, to int) {
	for row := 0; row < r.acts.n; {
		n := smallTile(r.acts.n - row)
		strip(w, a, j, sum, from, to, row, n)
		row += n
	}
}

// each calls f with the panels of all jobs' outputs that are one of n pieces.
func each(jobs []Job, piece, n int, f func(j *Job, from, to int)) {
	panels := 0
	for i := range jobs {
		panels += jobs[i].W.panels
	}
	from, to := panels*piece/n, panels*(piece+1)/n
	for i := range jobs {
		p := jobs[i].W.panels
		if lo, hi := max(from, 0), min(to, p); lo < hi {
			f(&jobs[i], lo, hi)
		}
		from, to = from-p, to-p
	}
}

// await waits for what another thread is doing at this moment.
func await(done func() bool) {
	for i := 0; !done(); i++ {
		if i%256 == 255 {
			runtime.Gosched()
		}
		pause(spinPauses)
	}
}
