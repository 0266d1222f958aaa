package strategy

import (
	"errors"
	"math"

	"gonum.org/v1/gonum/mat"

	"crayon/internal/fault"
)

// Case is a labelled row of a conditional logit.
type Case struct {
	X    [][]float64 // [candidate][feature]
	Gold int
}

// Fit is a conditional logit at the maximum of its posterior.
type Fit struct {
	Beta     []float64
	Variance []float64 // of the coefficients, by the curvature at Beta; 0 where held
	Evidence float64   // log marginal likelihood, by Laplace
}

// FitLogit maximises the likelihood of the cases times normal priors of the
// coefficients. A sigma of 0 holds its coefficient at mu. It is convex and
// solved by Newton's method with halved steps; deterministic.
func FitLogit(cases []Case, mu, sigma []float64) (Fit, error) {
	return fitLogit(cases, mu, mu, sigma)
}

// fitLogit is FitLogit from where the maximum is believed to be near.
func fitLogit(cases []Case, start, mu, sigma []float64) (Fit, error) {
	fit := Fit{Beta: append([]float64(nil), start...), Variance: make([]float64, len(mu))}
	var free []int
	for k, s := range sigma {
		if s > 0 {
			free = append(free, k)
		} else {
			fit.Beta[k] = mu[k]
		}
	}
	loss := posterior(cases, fit.Beta, mu, sigma, free)
	if len(free) == 0 || len(cases) == 0 {
		for _, k := range free {
			fit.Variance[k] = sigma[k] * sigma[k]
		}
		fit.Evidence = -loss
		return fit, nil
	}
	n := len(free)
	gradient, hessian := mat.NewVecDense(n, nil), mat.NewSymDense(n, nil)
	var chol mat.Cholesky
	for range 100 {
		curve(cases, fit.Beta, mu, sigma, free, gradient, hessian)
		if !chol.Factorize(hessian) {
			return fit, &fault.Error{Op: "fit logit", Err: errors.New("the curvature is not positive: a feature is not finite")}
		}
		var step mat.VecDense
		if err := chol.SolveVecTo(&step, gradient); err != nil {
			return fit, &fault.Error{Op: "fit logit", Err: err}
		}
		decrement := mat.Dot(gradient, &step)
		if decrement < 1e-10 {
			break
		}
		next, size, better := make([]float64, len(mu)), 1.0, false
		for range 40 {
			copy(next, fit.Beta)
			for i, k := range free {
				next[k] -= size * step.AtVec(i)
			}
			if l := posterior(cases, next, mu, sigma, free); l <= loss-1e-4*size*decrement {
				fit.Beta, loss, better = next, l, true
				break
			}
			size /= 2
		}
		if !better { // as far as the arithmetic goes
			break
		}
	}
	var inverse mat.SymDense
	if err := chol.InverseTo(&inverse); err != nil {
		return fit, &fault.Error{Op: "fit logit", Err: err}
	}
	fit.Evidence = -loss - chol.LogDet()/2
	for i, k := range free {
		fit.Variance[k] = inverse.At(i, i)
		fit.Evidence -= math.Log(sigma[k])
	}
	return fit, nil
}

// posterior is the negative log of likelihood and prior, but for its constant.
func posterior(cases []Case, beta, mu, sigma []float64, free []int) float64 {
	var l float64
	for _, c := range cases {
		l += caseLoss(c, beta)
	}
	for _, k := range free {
		z := (beta[k] - mu[k]) / sigma[k]
		l += z * z / 2
	}
	return l
}

func caseLoss(c Case, beta []float64) float64 {
	s := scoresOf(c.X, beta)
	return -logSoftmax(s, c.Gold)
}

func scoresOf(x [][]float64, beta []float64) []float64 {
	s := make([]float64, len(x))
	for j := range x {
		for k, b := range beta {
			s[j] += b * x[j][k]
		}
	}
	return s
}

// logSoftmax is the log-probability of candidate j.
func logSoftmax(s []float64, j int) float64 {
	top := math.Inf(-1)
	for _, x := range s {
		top = max(top, x)
	}
	var sum float64
	for _, x := range s {
		sum += math.Exp(x - top)
	}
	return s[j] - top - math.Log(sum)
}

// curve is the gradient and Hessian of posterior in the free coefficients.
func curve(cases []Case, beta, mu, sigma []float64, free []int, gradient *mat.VecDense, hessian *mat.SymDense) {
	n := len(free)
	gradient.Zero()
	hessian.Zero()
	g, h := gradient.RawVector().Data, hessian.RawSymmetric().Data
	expected := make([]float64, n)
	for _, c := range cases {
		p := Softmax(scoresOf(c.X, beta))
		clear(expected)
		for j, x := range c.X {
			for i, k := range free {
				expected[i] += p[j] * x[k]
			}
		}
		for i, k := range free {
			g[i] += expected[i] - c.X[c.Gold][k]
		}
		for j, x := range c.X {
			for a, k := range free {
				d := p[j] * (x[k] - expected[a])
				for b := a; b < n; b++ {
					h[a*n+b] += d * (x[free[b]] - expected[b])
				}
			}
		}
	}
	for i, k := range free {
		v := sigma[k] * sigma[k]
		g[i] += (beta[k] - mu[k]) / v
		h[i*n+i] += 1 / v
	}
}
