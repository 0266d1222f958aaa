package kernel

import (
	"math"
	"sync"
)

// Job is one product of a MatMul: Dst = acts * W^T, or Dst += it with Add; and
// with Low, a low-rank product is added to it.
type Job struct {
	W      *Matrix
	Dst    []float32 // n x Stride, the first W.Rows() of each row written
	Stride int
	Add    bool
	Low    *Low
}

const (
	tileRows   = 6  // rows of activations of the largest tile
	tilePanels = 2  // panels of the largest tile
	shareRows  = 96 // rows at most that a panel is used for at a time: they and their results fit the second cache
)

// MatMul multiplies the activations with the weights of all jobs as one
// parallel loop over the team. The columns of each W are those of a; the
// destinations must not overlap each other or the activations.
//
// A row's result does not depend on the other rows, on their number, or on
// the team: at one level the same row gives the same bits.
func MatMul(t *Team, a *Acts, jobs ...Job) {
	if a.n == 0 {
		return
	}
	low := false
	for i := range jobs {
		j := &jobs[i]
		check(a, j)
		if j.W.form != formFloat || j.Low != nil && j.Low.A.form != formFloat {
			a.quantise(t)
		}
		if j.Low != nil {
			low = true
			j.Low.prepare(a.n)
		}
	}
	count(a, jobs, shares(a.n))
	switch {
	case low && a.n < tileRows:
		interleave(t, a, jobs)
		return
	case low:
		reduce(t, a, jobs)
	}
	multiply(t, a, jobs)
}

// shares is how many parts n rows are cut into.
func shares(n int) int { return (n + shareRows - 1) / shareRows }

// multiply does the products of jobs whose activations are quantised, if their
// weights are.
func multiply(t *Team, a *Acts, jobs []Job) {
	m := products.Get().(*product)
	m.acts, m.jobs, m.first = a, append(m.jobs[:0], jobs...), m.first[:0]
	m.width = 1
	if a.n >= tileRows {
		m.width = tilePanels
	}
	items := 0
	for i := range jobs {
		m.first = append(m.first, items)
		items += (jobs[i].W.panels + m.width - 1) / m.width
	}
	m.items = items
	n := shares(a.n)
	m.rows = ((a.n+n-1)/n + tileRows - 1) / tileRows * tileRows
	grain := 1
	if a.n < tileRows {
		grain = max(1, min(32, items/(4*t.Threads())))
	}
	t.For(items*((a.n+m.rows-1)/m.rows), grain, m.run)
	m.acts = nil
	clear(m.jobs)
	products.Put(m)
}

func check(a *Acts, j *Job) {
	if j.W.cols != a.cols {
		panic("kernel: MatMul: the columns of the weights are not those of the activations")
	}
	if j.W.rows > 0 && (j.Stride < j.W.rows || len(j.Dst) < (a.n-1)*j.Stride+j.W.rows) {
		panic("kernel: MatMul: the destination is too small")
	}
	if l := j.Low; l != nil && (l.A.cols != a.cols || l.B.cols < l.A.rows || l.B.rows != j.W.rows || len(l.Weights) != a.n) {
		panic("kernel: MatMul: the low-rank part has another shape")
	}
}

// product is a MatMul in progress: items of width panels times shares of rows.
type product struct {
	acts  *Acts
	jobs  []Job
	first []int // first item of each job
	items int
	width int
	rows  int // rows of a share
	run   func(lo, hi int)
}

var products = sync.Pool{New: func() any {
	m := new(product)
	m.run = m.share
	return m
}}

// share does the items lo..hi, counted share of rows by share of rows: those
// that are neighbours in one matrix together.
func (m *product) share(lo, hi int) {
	for i := lo; i < hi; {
		item, row := i%m.items, i/m.items*m.rows
		j := len(m.first) - 1
		for m.first[j] > item {
			j--
		}
		end := m.items
		if j+1 < len(m.first) {
			end = m.first[j+1]
		}
		n := min(end-item, hi-i)
		panel := (item - m.first[j]) * m.width
		m.panels(&m.jobs[j], panel, min(panel+n*m.width, m.jobs[j].W.panels), row, min(row+m.rows, m.acts.n))
		i += n
	}
}

// panels computes the panels from..to of one job for the rows lo..hi.
func (m *product) panels(j *Job, from, to, lo, hi int) {
	whole := (hi - lo) / tileRows * tileRows
	if whole == 0 {
		m.rest(j, from, to, lo, hi)
		return
	}
	for p := from; p < to; p += tilePanels {
		if p+1 < to {
			m.tile(j, p, p+2, lo, whole)
			m.rest(j, p, p+2, lo+whole, hi)
		} else {
			m.rest(j, p, to, lo, hi)
		}
	}
}

// rest computes the panels from..to for rows that are no large tile.
func (m *product) rest(j *Job, from, to, lo, hi int) {
	for r := lo; r < hi; {
		n := smallTile(hi - r)
		m.tile(j, from, to, r, n)
		r += n
	}
}

// smallTile is how many of the rows that are left go together, where they are
// no large tile.
func smallTile(left int) int {
	switch {
	case left >= 4:
		return 4
	case left >= 2:
		return 2
	}
	return 1
}

// tile computes tiles of some panels and rows of a job and its low-rank part.
func (m *product) tile(j *Job, from, to, row, rows int) {
	strip(j.W, m.acts, j, j.Add, from, to, row, rows)
	if j.Low != nil {
		strip(j.Low.B, &j.Low.acts, j, true, from, to, row, rows)
	}
}

// strip computes tiles of some panels and rows of a product with w to where the
// job goes: the last panel, if a part of it would lie outside, by way of a buffer.
func strip(w *Matrix, a *Acts, j *Job, sum bool, from, to, row, rows int) {
	inside := min(to, w.rows/lanes)
	if rows >= tileRows && inside < to {
		inside = from // a large tile is of two panels
	}
	if inside > from {
		tile(w, from, inside-from, a, row, rows, j.Dst[row*j.Stride+from*lanes:], j.Stride, sum)
	}
	if inside == to {
		return
	}
	var buf [tileRows * tilePanels * lanes]float32
	stride := (to - inside) * lanes
	width := w.rows - inside*lanes
	for lo := row; lo < row+rows; lo += tileRows {
		n := min(tileRows, row+rows-lo)
		tile(w, inside, to-inside, a, lo, n, buf[:], stride, false)
		for r := range n {
			dst := j.Dst[(lo+r)*j.Stride+inside*lanes:][:width]
			if sum {
				Add(dst, buf[r*stride:][:width])
			} else {
				copy(dst, buf[r*stride:][:width])
			}
		}
	}
}

// plainTile computes panels x 16 outputs for some rows of activations:
// c[r*stride+l] = or += the product of row and lane, block after block.
func plainTile(w *Matrix, panel, panels int, a *Acts, row, rows int, c []float32, stride int, sum bool) {
	for ; rows > tileRows; rows, row, c = rows-tileRows, row+tileRows, c[tileRows*stride:] {
		plainTile(w, panel, panels, a, row, tileRows, c, stride, sum)
	}
	for l := range panels * lanes {
		var y [tileRows]float32
		if w.form == formFloat {
			plainFloatLane(w, panel+l/lanes, l%lanes, a, row, y[:rows])
		} else {
			plainQuantLane(w, panel+l/lanes, l%lanes, a, row, y[:rows])
		}
		for r, v := range y[:rows] {
			if sum {
				v += c[r*stride+l]
			}
			c[r*stride+l] = v
		}
	}
}

func plainFloatLane(w *Matrix, panel, lane int, a *Acts, row int, y []float32) {
	for k := range w.cols {
		v := w.floats[(panel*w.cols+k)*lanes+lane]
		for r := range y {
			y[r] += a.x[(row+r)*a.cols+k] * v
		}
	}
}

func plainQuantLane(w *Matrix, panel, lane int, a *Acts, row int, y []float32) {
	var q [blockSize]int32
	for b := range w.blocks {
		for i := range q {
			q[i] = int32(w.quant(panel, b, lane, i))
		}
		d, m := w.scales(panel, b, lane)
		for r := range y {
			x := (*[blockSize]int8)(a.q[(row+r)*a.stride+b*blockSize:])
			meta := (*[metaSize]float32)(a.meta[((row+r)*a.blocks+b)*metaSize:])
			var s int32
			for i, v := range x {
				s += int32(v) * q[i]
			}
			if w.scaling == scaleShift {
				s += int32(math.Float32bits(meta[2])) << w.shift
			}
			y[r] += d * meta[0] * float32(s)
			if w.scaling != scaleShift {
				y[r] += m * meta[1]
			}
		}
	}
}
