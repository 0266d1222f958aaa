package calibrate

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// Interval is a measured number with where the true one lies.
type Interval struct {
	Value float64 `json:"value"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// ClopperPearson is the exact interval of a share of k in n at a confidence
// between 0 and 1.
func ClopperPearson(k, n int, confidence float64) Interval {
	if n == 0 {
		return Interval{math.NaN(), 0, 1}
	}
	a := (1 - confidence) / 2
	i := Interval{float64(k) / float64(n), 0, 1}
	if k > 0 {
		i.Low = mathext.InvRegIncBeta(float64(k), float64(n-k+1), a)
	}
	if k < n {
		i.High = mathext.InvRegIncBeta(float64(k+1), float64(n-k), 1-a)
	}
	return i
}

// MeanInterval is that of the mean of numbers between 0 and 1: exact where all
// are 0 or 1, else by bootstrap (percentiles of 2000 resamples).
func MeanInterval(xs []float64, confidence float64) Interval {
	whole, sum := 0, 0.0
	for _, x := range xs {
		if x == 0 || x == 1 {
			whole++
		}
		sum += x
	}
	if whole == len(xs) {
		return ClopperPearson(int(math.Round(sum)), len(xs), confidence)
	}
	rng := rand.New(rand.NewPCG(1, uint64(len(xs))))
	means := make([]float64, 2000)
	for b := range means {
		var s float64
		for range xs {
			s += xs[rng.IntN(len(xs))]
		}
		means[b] = s / float64(len(xs))
	}
	slices.Sort(means)
	a := (1 - confidence) / 2
	at := func(q float64) float64 { return means[min(len(means)-1, int(q*float64(len(means))))] }
	return Interval{sum / float64(len(xs)), at(a), at(1 - a)}
}

// worseThan is a p-value of the mean loss being at least alpha, for losses
// between 0 and 1: the binomial tail where all are 0 or 1, else the bound of
// Hoeffding and Bentkus (Bates et al., arXiv:2101.02703).
func worseThan(losses []float64, alpha float64) float64 {
	n, sum, whole := len(losses), 0.0, true
	for _, x := range losses {
		sum += x
		whole = whole && (x == 0 || x == 1)
	}
	switch {
	case n == 0 || alpha <= 0:
		return 1
	case alpha >= 1:
		return 0
	}
	tail := distuv.Binomial{N: float64(n), P: alpha}
	if whole {
		return tail.CDF(math.Round(sum))
	}
	mean := sum / float64(n)
	if mean >= alpha {
		return 1
	}
	h := mean*logRatio(mean, alpha) + (1-mean)*logRatio(1-mean, 1-alpha)
	return min(1, math.Exp(-float64(n)*h), math.E*tail.CDF(math.Ceil(sum)))
}

func logRatio(a, b float64) float64 {
	if a == 0 {
		return 0
	}
	return math.Log(a / b)
}

// ShareThreshold is the gain above which a share of queries like these is sent:
// the conformal quantile, so that in the mean over draws of the rows no more are
// (Vovk et al., 2005). Ties send fewer. Values lie between -2 and 2.
func ShareThreshold(gains []float64, share float64) float64 {
	s := slices.Clone(gains)
	slices.Sort(s)
	k := int(math.Ceil(float64(len(s)+1)*(1-share) - 1e-9))
	switch {
	case k < 1:
		return never(-1)
	case k > len(s):
		return never(1)
	}
	return max(never(-1), min(never(1), s[k-1]))
}

// never is a threshold that no gain is on the other side of: 2 sends none, -2 all.
func never(sign float64) float64 { return 2 * sign }

// The rows that a promise needs. Of all rows fitShare are fitted on and the rest
// checked on.
const (
	fitShare   = 0.6
	confidence = 0.95
	z95        = 1.959964 // two-sided, of confidence
	z95one     = 1.644854 // one-sided
)

// RowsForShare is how many rows a share needs to be met within so much, in 95 of
// 100 draws: the quantile's own error.
func RowsForShare(share, within float64) int {
	share = max(0.05, min(0.95, share))
	return int(math.Ceil(share * (1 - share) * (z95 / within) * (z95 / within) / fitShare))
}

// RowsForQuality is how many rows a quality needs to be shown where the true one
// is larger by within: then the test passes every other time, and where it is
// larger by 1.5 times that, mostly.
func RowsForQuality(quality, within float64) int {
	quality = max(0.05, min(0.95, quality))
	return int(math.Ceil(quality * (1 - quality) * (z95one / within) * (z95one / within) / (1 - fitShare)))
}
