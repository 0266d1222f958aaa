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

// auroc is the probability that a right row scores above a wrong one, ties a
// half; order is by descending score. NaN where there is one class.
func auroc(order []int, score, y []float64, times []int) float64 {
	var above, pairs, right, wrong float64
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
	if right == 0 || wrong == 0 {
		return math.NaN()
	}
	return pairs / (right * wrong)
}

// leastOfKind is how many right and wrong rows a user needs for an AUROC of its own.
const leastOfKind = 5

// within is the mean over users of their AUROC, and of how many users; a user
// counts as often as its rows were drawn.
func within(orders [][]int, score, y []float64, times []int) (mean float64, users int) {
	var sum, weight float64
	for _, order := range orders {
		var right, n float64
		for _, i := range order {
			c := 1.0
			if times != nil {
				c = float64(times[i])
			}
			right, n = right+c*y[i], n+c
		}
		if right < leastOfKind || n-right < leastOfKind {
			continue
		}
		c := n / float64(len(order))
		sum += c * auroc(order, score, y, times)
		weight += c
		users++
	}
	if weight == 0 {
		return math.NaN(), 0
	}
	return sum / weight, users
}

// byUser splits an order by user.
func byUser(order []int, rows []Row) [][]int {
	of := map[string]int{}
	var out [][]int
	for _, i := range order {
		k, ok := of[rows[i].User]
		if !ok {
			k = len(out)
			of[rows[i].User] = k
			out = append(out, nil)
		}
		out[k] = append(out[k], i)
	}
	return out
}
