package calibrate

import (
	"cmp"
	"math"
	"slices"
)

// Judge measures probabilities, cross-fitted over folds, against outcomes; users
// tell whose share right the Brier skill is over.
func Judge(p, y []float64, users []string, folds []int) Fit {
	return Fit{AUROC: foldAUROC(p, y, folds), LogLoss: LogLoss(p, y), Brier: Brier(p, y), BrierSkill: BrierSkill(p, y, users), ECE: ECE(p, y, 15)}
}

// AUROC is the probability that a right row scores above a wrong one, ties a
// half; y is 0 to 1, a share counting in part. NaN where there is one class.
func AUROC(score, y []float64) float64 {
	won, all := pairs(score, y)
	return won / all
}

// foldAUROC is the same over pairs of one fold, or of all rows where no fold has
// rows of both kinds: scores of two fits do not compare, whose levels are low where
// the rows left out are right.
func foldAUROC(score, y []float64, folds []int) float64 {
	var won, all float64
	for f := range slices.Max(folds) + 1 {
		var s, v []float64
		for i := range score {
			if folds[i] == f {
				s, v = append(s, score[i]), append(v, y[i])
			}
		}
		w, n := pairs(s, v)
		won, all = won+w, all+n
	}
	if all == 0 {
		return AUROC(score, y)
	}
	return won / all
}

// pairs are those of a right and a wrong row: in how many the right one scores
// above, and how many there are.
func pairs(score, y []float64) (won, all float64) {
	order := sorted(score)
	var below, right, wrong float64
	for i := 0; i < len(order); {
		j := i
		var r, w float64
		for ; j < len(order) && score[order[j]] == score[order[i]]; j++ {
			r += y[order[j]]
			w += 1 - y[order[j]]
		}
		won += r*below + r*w/2
		below += w
		right, wrong = right+r, wrong+w
		i = j
	}
	return won, right * wrong
}

// WithinUser is the mean of each user's AUROC, over the users with at least
// least rows of either kind, and how many those are.
func WithinUser(score, y []float64, users []string, least int) (mean float64, n int) {
	of := map[string][]int{}
	for i, u := range users {
		of[u] = append(of[u], i)
	}
	var sum float64
	for _, u := range slices.Sorted(keys(of)) {
		var s, v []float64
		var right float64
		for _, i := range of[u] {
			s, v = append(s, score[i]), append(v, y[i])
			right += y[i]
		}
		if right < float64(least) || float64(len(v))-right < float64(least) {
			continue
		}
		sum += AUROC(s, v)
		n++
	}
	if n == 0 {
		return math.NaN(), 0
	}
	return sum / float64(n), n
}

func keys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// LogLoss is the mean negative log-likelihood a row, in nats.
func LogLoss(p, y []float64) float64 {
	var sum float64
	for i, x := range p {
		sum += rowLoss(x, y[i])
	}
	return sum / float64(max(1, len(p)))
}

func rowLoss(p, y float64) float64 {
	p = max(1e-12, min(1-1e-12, p))
	return -y*math.Log(p) - (1-y)*math.Log(1-p)
}

// Brier is the mean squared error.
func Brier(p, y []float64) float64 {
	var sum float64
	for i, x := range p {
		sum += (x - y[i]) * (x - y[i])
	}
	return sum / float64(max(1, len(p)))
}

// BrierSkill is what p takes off the Brier score of each user's share right: 1
// is perfect, 0 no better, also where nothing varies. The share is that of all the
// user's queries, as far as these tell it: the Brier score of the share right of
// the rows themselves, which knows their outcomes, times n/(n-1) for n rows. Users
// with one row are left out.
func BrierSkill(p, y []float64, users []string) float64 {
	right, n := map[string]float64{}, map[string]float64{}
	for i, u := range users {
		right[u] += y[i]
		n[u]++
	}
	var base, off float64
	for i, u := range users {
		if n[u] < 2 {
			continue
		}
		d := right[u]/n[u] - y[i]
		base += d * d * n[u] / (n[u] - 1)
		off += (p[i] - y[i]) * (p[i] - y[i])
	}
	if base == 0 {
		return 0
	}
	return 1 - off/base
}

// ECE is the expected calibration error: the mean over bins of equal mass of how
// far the mean probability is from the share right.
func ECE(p, y []float64, bins int) float64 {
	order := sorted(p)
	var sum float64
	for b := range bins {
		lo, hi := b*len(order)/bins, (b+1)*len(order)/bins
		var d float64
		for _, i := range order[lo:hi] {
			d += p[i] - y[i]
		}
		sum += math.Abs(d)
	}
	return sum / float64(max(1, len(order)))
}

// sorted are the indices by ascending score, equal ones in order.
func sorted(score []float64) []int {
	order := make([]int, len(score))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(score[i], score[j]) })
	return order
}

// Point is a place on the curve of quality against share sent.
type Point struct {
	Share     float64 `json:"share"`
	Quality   float64 `json:"quality"`
	Threshold float64 `json:"threshold"` // gains above it are sent
}

// Frontier is the quality at 0, 1/steps, ... 1 sent, the largest gains first;
// device and server are outcomes or probabilities, one a row. Rows of one gain
// go together in part.
func Frontier(gain, device, server []float64, steps int) []Point {
	order := sorted(gain)
	slices.Reverse(order)
	n := len(order)
	quality := 0.0
	for _, x := range device {
		quality += x
	}
	out := make([]Point, 0, steps+1)
	at := 0
	for s := range steps + 1 {
		for ; at < s*n/steps; at++ {
			quality += server[order[at]] - device[order[at]]
		}
		t := math.Inf(1)
		if at > 0 {
			t = gain[order[at-1]]
		}
		if at < n {
			t = gain[order[at]]
		} else if n > 0 {
			t = math.Nextafter(t, math.Inf(-1))
		}
		out = append(out, Point{Share: float64(at) / float64(max(1, n)), Quality: quality / float64(max(1, n)), Threshold: t})
	}
	return out
}

// AreaOverRandom is the area between a frontier and the line from its first to
// its last point, which sending at random reaches.
func AreaOverRandom(f []Point) float64 {
	if len(f) < 2 {
		return 0
	}
	first, last := f[0], f[len(f)-1]
	over := func(p Point) float64 { return p.Quality - first.Quality - p.Share*(last.Quality-first.Quality) }
	var area float64
	for i := 1; i < len(f); i++ {
		area += (f[i].Share - f[i-1].Share) * (over(f[i]) + over(f[i-1])) / 2
	}
	return area
}
