package train

import (
	"math"
	"sync"
)

// Constants of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), without
// weight decay.
const (
	Beta1   = 0.9
	Beta2   = 0.99
	Epsilon = 1e-8
	MaxNorm = 1.0  // of the gradient over all parameters
	floor   = 0.05 // of the learning rate, where the cosine ends
)

// rate is the learning rate of a step, from 0: a linear rise, and a cosine
// from the peak down to floor.
func (c Config) rate(step, steps int) float64 {
	warm := max(1, min(c.Warmup, steps/20))
	rise := min(1, float64(step+1)/float64(warm))
	cosine := 0.5 * (1 + math.Cos(math.Pi*float64(step)/float64(steps)))
	return c.LearningRate * rise * (cosine*(1-floor) + floor)
}

// pieces is into how many parts the parameters are cut for the optimiser:
// fixed, so that the order of sums does not depend on the number of workers.
const pieces = 256

// parallel runs f on the ranges of pieces equal parts of n.
func parallel(workers, n int, f func(piece, lo, hi int)) {
	var wait sync.WaitGroup
	for w := range workers {
		wait.Go(func() {
			for i := w; i < pieces; i += workers {
				f(i, i*n/pieces, (i+1)*n/pieces)
			}
		})
	}
	wait.Wait()
}

// norm is the Euclidean norm of the gradient.
func norm(workers int, grad []float32) float64 {
	var squares [pieces]float64
	parallel(workers, len(grad), func(piece, lo, hi int) {
		var a, b float64
		g := grad[lo:hi]
		i := 0
		for ; i+2 <= len(g); i += 2 {
			x, y := float64(g[i]), float64(g[i+1])
			a, b = a+x*x, b+y*y
		}
		for ; i < len(g); i++ {
			a += float64(g[i]) * float64(g[i])
		}
		squares[piece] = a + b
	})
	var sum float64
	for _, s := range squares {
		sum += s
	}
	return math.Sqrt(sum)
}

// update applies step number t (from 0) of AdamW at the given rate, with the
// gradient, whose norm is given, clipped to MaxNorm.
func update(s *State, workers, t int, rate, norm float64, grad []float32) {
	clip := float32(1)
	if norm > MaxNorm {
		clip = float32(MaxNorm / norm)
	}
	size := float32(rate / (1 - math.Pow(Beta1, float64(t+1))))
	correct := float32(1 / (1 - math.Pow(Beta2, float64(t+1))))
	parallel(workers, len(grad), func(_, lo, hi int) {
		v, g, m1, m2 := s.Params.Values[lo:hi], grad[lo:hi], s.First[lo:hi], s.Second[lo:hi]
		for i := range v {
			x := g[i] * clip
			m1[i] = Beta1*m1[i] + (1-Beta1)*x
			m2[i] = Beta2*m2[i] + (1-Beta2)*x*x
			v[i] -= size * m1[i] / (float32(math.Sqrt(float64(m2[i]*correct))) + Epsilon)
		}
	})
}
