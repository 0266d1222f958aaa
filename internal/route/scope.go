package route

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Neighbours is how many of the user's examples a query is compared to: the
// scope is the mean similarity to the nearest ones.
const Neighbours = 3

// Cosine is the cosine similarity of two vectors of one length, -1 to 1; 0
// when either is zero.
func Cosine(a, b []float32) float32 {
	var ab, aa, bb float64
	for i, x := range a {
		y := float64(b[i])
		ab += float64(x) * y
		aa += float64(x) * float64(x)
		bb += y * y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return float32(max(-1, min(1, ab/math.Sqrt(aa*bb))))
}

// Scope is how near a query's feature is to a set of features: the mean
// cosine similarity to the k nearest of them (fewer if there are fewer). NaN
// for an empty set. k = 1 is the nearest alone.
func Scope(query []float32, set [][]float32, k int) float32 {
	sims := make([]float32, 0, len(set))
	for _, f := range set {
		sims = append(sims, Cosine(query, f))
	}
	return meanOfBest(sims, k)
}

// LeaveOneOut is the Scope of each feature against all the others. It takes
// len(features)^2/2 products. NaN for a single one.
func LeaveOneOut(features [][]float32, k int) []float32 {
	n := len(features)
	sims := make([][]float32, n)
	for i := range sims {
		sims[i] = make([]float32, 0, n-1)
	}
	for i := range features {
		for j := range i {
			c := Cosine(features[i], features[j])
			sims[i] = append(sims[i], c)
			sims[j] = append(sims[j], c)
		}
	}
	out := make([]float32, n)
	for i, s := range sims {
		out[i] = meanOfBest(s, k)
	}
	return out
}

// meanOfBest is the mean of the k largest; it reorders sims.
func meanOfBest(sims []float32, k int) float32 {
	if len(sims) == 0 {
		return float32(math.NaN())
	}
	slices.SortFunc(sims, func(a, b float32) int {
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return 0
	})
	k = max(1, min(k, len(sims)))
	sum := 0.0
	for _, s := range sims[:k] {
		sum += float64(s)
	}
	return float32(sum / float64(k))
}

// Quantile is the q-quantile (0 to 1) of xs, linear between order statistics
// (type 7 of Hyndman and Fan, 1996). xs is not changed. NaN when empty.
func Quantile(xs []float32, q float64) float32 {
	if len(xs) == 0 {
		return float32(math.NaN())
	}
	s := slices.Clone(xs)
	slices.Sort(s)
	pos := max(0, min(1, q)) * float64(len(s)-1)
	lo := int(pos)
	hi := min(lo+1, len(s)-1)
	frac := pos - float64(lo)
	return float32(float64(s[lo])*(1-frac) + float64(s[hi])*frac)
}

// ErrTooFew is the cause when there are not enough examples for a threshold.
var ErrTooFew = errors.New("too few examples")

// MinExamples is the least number of examples a scope threshold is set from.
const MinExamples = 4

// ScopeThreshold sets the least scope of an own query from the user's own
// examples: the q-quantile of their leave-one-out scopes, less slack times the
// spread of the half of them below the median. q is about the share of own
// queries that leave at slack 0; few examples estimate a low quantile
// badly and a left-out example has one neighbour less than a new query has,
// which the slack makes up for. Identical examples give no spread and no
// slack. q is 0 to 1, slack 0 or more.
func ScopeThreshold(features [][]float32, k int, q, slack float64) (float32, error) {
	if len(features) < MinExamples {
		return float32(math.NaN()), fmt.Errorf("%w: %d, a scope threshold needs %d", ErrTooFew, len(features), MinExamples)
	}
	loo := LeaveOneOut(features, k)
	mid, low := Quantile(loo, 0.5), Quantile(loo, 0.1)
	t := float64(Quantile(loo, q)) - slack*float64(mid-low)
	return float32(max(-1, min(1, t))), nil
}

// Balance sets a threshold between the scopes of queries that should stay and
// of queries that should leave: the value with the greatest share stayed minus
// share wrongly stayed (Youden, 1950), halfway to the next value. It returns
// also both shares at the threshold. Either list empty gives NaN.
func Balance(stay, leave []float32) (threshold float32, stayed, wronglyStayed float64) {
	if len(stay) == 0 || len(leave) == 0 {
		return float32(math.NaN()), 0, 0
	}
	all := slices.Concat(stay, leave)
	slices.Sort(all)
	all = slices.Compact(all)
	share := func(xs []float32, t float32) float64 {
		n := 0
		for _, x := range xs {
			if x >= t {
				n++
			}
		}
		return float64(n) / float64(len(xs))
	}
	best := math.Inf(-1)
	for i, x := range all {
		t := x
		if i > 0 {
			t = all[i-1] + (x-all[i-1])/2
		}
		if s, w := share(stay, t), share(leave, t); s-w > best {
			best, threshold, stayed, wronglyStayed = s-w, t, s, w
		}
	}
	return threshold, stayed, wronglyStayed
}
