package strategy

import (
	"math"
	"slices"
)

// group is one user's cases, with the weight that its data set leaves it.
type group struct {
	user, dataset, family string
	examples              int         // that the user has
	rows                  []*Observed // of the cases
	cases                 []Case
	weight                float64
}

// weigh gives every data set the same weight, its users equal parts of it.
func weigh(groups []*group) {
	users := map[string]float64{}
	for _, g := range groups {
		users[g.dataset]++
	}
	for _, g := range groups {
		g.weight = 1 / users[g.dataset]
	}
}

// The hyperprior, in units of one data set and of a feature's own deviation: a
// mean is normal with deviation meanWidth about that of the centre, so that a
// coefficient on which families disagree keeps to it; a spread is as if
// spreadSets data sets had shown one of spreadBelief. Chosen by leaving out
// folds 1 and 2 (docs/research.md).
const (
	meanWidth    = 0.1
	spreadSets   = 5
	spreadBelief = 0.1
	leastSigma   = 0.01
	emSteps      = 25
)

// centre has the coefficients that stacks are thought to lie about, of features
// before scaling: the score after worked examples, and the blend's less what a
// choice is likely without the question. Those of the others are 0.
var centre = map[string]float64{mean(passSharedShot).name: 0.6, pmi(passBlend, passEmptyBlend).name: 0.9}

// fitNormals learns the priors of a stack's coefficients from other users'
// rows, all of one kind: empirical Bayes by expectation maximisation, each
// user's posterior by Laplace. It also finds the scales. users' cases are of
// the raw features; they are not changed.
func fitNormals(names []string, groups []*group) ([]Normal, error) {
	weigh(groups)
	scale := deviations(len(names), groups)
	scaled := make([]*group, len(groups))
	for i, g := range groups {
		c := *g
		c.cases = make([]Case, len(g.cases))
		for r, x := range g.cases {
			c.cases[r] = Case{Gold: x.Gold, X: make([][]float64, len(x.X))}
			for j := range x.X {
				c.cases[r].X[j] = make([]float64, len(names))
				for k := range names {
					c.cases[r].X[j][k] = x.X[j][k] / scale[k]
				}
			}
		}
		scaled[i] = &c
	}
	mu, sigma := make([]float64, len(names)), make([]float64, len(names))
	for k := range sigma {
		mu[k] = centre[names[k]] * scale[k]
		if scale[k] != 1 || varies(k, groups) {
			sigma[k] = 0.5
		}
	}
	about := slices.Clone(mu)
	fits := make([]Fit, len(scaled))
	for i := range fits {
		fits[i].Beta = mu
	}
	for range emSteps {
		var weight float64
		sum, square := make([]float64, len(mu)), make([]float64, len(mu))
		for i, g := range scaled {
			fit, err := fitLogit(g.cases, fits[i].Beta, mu, sigma)
			if err != nil {
				return nil, err
			}
			fits[i] = fit
			weight += g.weight
			for k := range sum {
				sum[k] += g.weight * fit.Beta[k]
			}
		}
		next := make([]float64, len(mu))
		for k := range mu {
			pull := sigma[k] * sigma[k] / (meanWidth * meanWidth)
			next[k] = (sum[k] + pull*about[k]) / (weight + pull)
		}
		for i, g := range scaled {
			for k := range square {
				d := fits[i].Beta[k] - next[k]
				square[k] += g.weight * (d*d + fits[i].Variance[k])
			}
		}
		for k := range mu {
			if sigma[k] > 0 {
				variance := (square[k] + spreadSets*spreadBelief*spreadBelief) / (weight + spreadSets)
				mu[k], sigma[k] = next[k], max(leastSigma, math.Sqrt(variance))
			}
		}
	}
	out := make([]Normal, len(names))
	for k, name := range names {
		out[k] = Normal{Feature: name, Mu: round(mu[k]), Sigma: round(sigma[k]), Scale: round(scale[k])}
	}
	return out, nil
}

func round(x float64) float64 { return math.Round(x*1e5) / 1e5 }

// deviations of the centred features, data sets alike; 1 for one that is always 0.
func deviations(n int, groups []*group) []float64 {
	sum, weight := make([]float64, n), 0.0
	for _, g := range groups {
		for _, c := range g.cases {
			w := g.weight / float64(len(g.cases)*len(c.X))
			for _, x := range c.X {
				weight += w
				for k, v := range x {
					sum[k] += w * v * v
				}
			}
		}
	}
	for k := range sum {
		if sum[k] = math.Sqrt(sum[k] / weight); !(sum[k] > 1e-4) {
			sum[k] = 1
		}
	}
	return sum
}

func varies(k int, groups []*group) bool {
	for _, g := range groups {
		for _, c := range g.cases {
			for _, x := range c.X {
				if math.Abs(x[k]) > 1e-4 {
					return true
				}
			}
		}
	}
	return false
}
