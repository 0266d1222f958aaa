package benchhybrid

import (
	"math"
	"slices"
)

// walk sends rows in an order, each counting as often as times says (nil: once),
// and tells the accuracy at shares sent; within a row it is linear.
type walk struct {
	weight, gain float64   // of all rows
	base         float64   // accuracy with none sent
	area         float64   // between the curve and the line of sending at random
	at           []float64 // accuracy at the shares asked for
}

func walked(order []int, device, server []float64, times []int, shares []float64) walk {
	var w walk
	count := func(i int) float64 {
		if times == nil {
			return 1
		}
		return float64(times[i])
	}
	for _, i := range order {
		c := count(i)
		w.weight += c
		w.base += c * device[i]
		w.gain += c * (server[i] - device[i])
	}
	if w.weight == 0 {
		w.at = slices.Repeat([]float64{math.NaN()}, len(shares))
		return w
	}
	w.base /= w.weight
	sent, gain, next := 0.0, 0.0, 0
	for _, i := range order {
		c := count(i)
		if c == 0 {
			continue
		}
		g := c * (server[i] - device[i])
		w.area += c / w.weight * (gain + g/2) / w.weight
		for next < len(shares) && shares[next]*w.weight <= sent+c+1e-9 {
			part := max(0, min(1, (shares[next]*w.weight-sent)/c))
			w.at = append(w.at, w.base+(gain+part*g)/w.weight)
			next++
		}
		sent, gain = sent+c, gain+g
	}
	for ; next < len(shares); next++ {
		w.at = append(w.at, w.base+gain/w.weight)
	}
	w.area -= w.gain / w.weight / 2
	return w
}

// auroc is the probability that a right row scores above a wrong one of its
// stratum, ties a half; each stratum is an order by descending score. NaN where
// no stratum has rows of both classes.
func auroc(strata [][]int, score, y []float64, times []int) float64 {
	var pairs, all float64
	for _, order := range strata {
		var above, right, wrong float64
		for k := 0; k < len(order); {
			var r, w float64
			j := k
			for ; j < len(order) && score[order[j]] == score[order[k]]; j++ {
				c := 1.0
				if times != nil {
					c = float64(times[order[j]])
				}
				r, w = r+c*y[order[j]], w+c*(1-y[order[j]])
			}
			pairs += w*above + r*w/2
			above += r
			right, wrong = right+r, wrong+w
			k = j
		}
		all += right * wrong
	}
	if all == 0 {
		return math.NaN()
	}
	return pairs / all
}

// leastOfKind is how many right and wrong rows a user needs for an AUROC of its own.
const leastOfKind = 5

// within is the mean over users of their AUROC, and of how many users; a user
// counts as often as its rows were drawn.
func within(users [][][]int, score, y []float64, times []int) (mean float64, n int) {
	var sum, weight float64
	for _, strata := range users {
		var right, drawn, rows float64
		for _, order := range strata {
			rows += float64(len(order))
			for _, i := range order {
				c := 1.0
				if times != nil {
					c = float64(times[i])
				}
				right, drawn = right+c*y[i], drawn+c
			}
		}
		if right < leastOfKind || drawn-right < leastOfKind {
			continue
		}
		a := auroc(strata, score, y, times)
		if math.IsNaN(a) {
			continue
		}
		c := drawn / rows
		sum += c * a
		weight += c
		n++
	}
	if weight == 0 {
		return math.NaN(), 0
	}
	return sum / weight, n
}

// byUser splits an order by user.
func byUser(order []int, rows []Row) [][]int {
	users := make([]string, len(order))
	for k, i := range order {
		users[k] = rows[i].User
	}
	at, n := numbered(users)
	return split(order, at, n)
}

// split deals an order into n parts; at is the part of each place.
func split(order []int, at []int, n int) [][]int {
	out := make([][]int, n)
	for k, i := range order {
		out[at[k]] = append(out[at[k]], i)
	}
	return out
}
