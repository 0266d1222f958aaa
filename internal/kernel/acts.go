package kernel

import "math"

// Acts are activations, the right-hand side of MatMul: n rows of cols values.
//
// Quantised, a block of 32 values is int8 with value = scale*q, scale =
// max|x|/127 and q rounded to nearest, ties to even. A block whose largest
// magnitude is under 1e-30 counts as zero. NaN or an infinity in a block
// makes the results of that row meaningless, of no other.
type Acts struct {
	n, cols int
	x       []float32
	ready   bool // quantised
	blocks  int
	stride  int       // bytes from row to row of q
	q       []int8    // n x stride
	meta    []float32 // n x blocks x 4: scale, scale*sum(q), -sum(q) as int32 bits, 0
}

const (
	metaSize = 4
	tiny     = 1e-30
)

// Set makes x, n rows of cols values, the activations. x is kept, not copied:
// it must stay as it is until the last MatMul with it. The memory of an
// earlier Set is used again. Quantising waits for the first MatMul that needs
// it and is done on its team, so the first MatMul after a Set must not run
// beside another with the same Acts. The team given here is not used.
func (a *Acts) Set(_ *Team, x []float32, n, cols int) {
	if n < 0 || cols < 0 || len(x) < n*cols {
		panic("kernel: Acts.Set: too few values")
	}
	a.n, a.cols, a.x, a.ready = n, cols, x[:n*cols], false
}

// quantise makes the int8 form, if it isn't there yet.
func (a *Acts) quantise(t *Team) {
	if a.ready {
		return
	}
	a.blocks = a.cols / blockSize
	a.stride = a.cols
	if a.stride%1024 == 0 {
		// Rows a multiple of 4 KiB apart would share the sets of the cache.
		a.stride += 64
	}
	if need := a.n * a.stride; cap(a.q) < need {
		a.q = aligned[int8](need)
	} else {
		a.q = a.q[:need]
	}
	if need := a.n * a.blocks * metaSize; cap(a.meta) < need {
		a.meta = aligned[float32](need)
	} else {
		a.meta = a.meta[:need]
	}
	if a.n*a.cols < 1<<14 {
		a.quantiseRows(0, a.n)
	} else {
		t.For(a.n, max(1, min(64, a.n/(2*t.Threads()))), a.quantiseRows)
	}
	a.ready = true
}

func (a *Acts) quantiseRows(lo, hi int) {
	per := a.blocks * metaSize
	for i := lo; i < hi; i++ {
		quantiseRow(a.q[i*a.stride:i*a.stride+a.cols], a.meta[i*per:(i+1)*per], a.x[i*a.cols:(i+1)*a.cols])
	}
}

// plainQuantise is the twin of the vector quantiser, equal to the last bit
// except where a product lies on the border between two integers.
func plainQuantise(q []int8, meta, x []float32) {
	for b := range len(x) / blockSize {
		v := x[b*blockSize : (b+1)*blockSize]
		var top float32
		for _, e := range v {
			top = max(top, float32(math.Abs(float64(e))))
		}
		var inverse, scale float32
		if top >= tiny {
			inverse, scale = 127/top, top*(1.0/127)
		}
		var sum int32
		for i, e := range v {
			r := int32(math.RoundToEven(float64(e * inverse)))
			q[b*blockSize+i] = int8(r)
			sum += r
		}
		m := meta[b*metaSize : (b+1)*metaSize]
		m[0], m[1] = scale, scale*float32(sum)
		m[2], m[3] = math.Float32frombits(uint32(-sum)), 0
	}
}
