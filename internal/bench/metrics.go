package bench

import (
	"maps"
	"slices"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat"
)

// subject is a user at one number of examples, as the figures see it. Credits
// are over repeats: trainings of the pool, and for each of them draws of the
// examples; a row has one value a strategy.
type subject struct {
	name, dataset string
	group         Group
	fold          int
	pool          int // users of one number have pools that were trained together
	constant      bool
	rows          int
	chance        float64       // mean of 1 / choices
	credits       [][][]float64 // training x draw x (row * strategies + strategy), 0 to 1
	mean          []float64     // by strategy, over all of it
	bank          [][][]float64 // resample x training x strategy: see fill
}

// datasets groups subjects by data set, in the order they come.
func datasets(subjects []*subject) [][]*subject {
	var out [][]*subject
	index := map[string]int{}
	for _, t := range subjects {
		i, ok := index[t.dataset]
		if !ok {
			i = len(out)
			index[t.dataset] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], t)
	}
	return out
}

// settle computes the means.
func (t *subject) settle(strategies int) {
	t.mean = make([]float64, strategies)
	n := 0
	for _, draws := range t.credits {
		for _, credits := range draws {
			for i, c := range credits {
				t.mean[i%strategies] += c
			}
			n += t.rows
		}
	}
	for s := range t.mean {
		t.mean[s] /= float64(n)
	}
}

// tally counts rows where a is better than b, at the first training and draw:
// rows of other draws are the same questions again.
func (t *subject) tally(strategies, a, b int) Tally {
	var out Tally
	first := t.credits[0][0]
	for i := 0; i < len(first); i += strategies {
		out.add(first[i+a] - first[i+b])
	}
	return out
}

// binary reports whether every credit of the strategies is 0 or 1.
func (t *subject) binary(strategies, a, b int) bool {
	first := t.credits[0][0]
	for i := 0; i < len(first); i += strategies {
		if !whole(first[i+a]) || !whole(first[i+b]) {
			return false
		}
	}
	return true
}

func whole(credit float64) bool { return credit == 0 || credit == 1 }

// macro is the mean over data sets of the mean over their users of f.
func macro(sets [][]*subject, f func(*subject) float64) float64 {
	total := 0.0
	for _, set := range sets {
		sum := 0.0
		for _, t := range set {
			sum += f(t)
		}
		total += sum / float64(len(set))
	}
	return total / float64(len(sets))
}

// interval returns the 2.5 and 97.5 percentiles; it sorts its input.
func interval(samples []float64) (low, high float64) {
	slices.Sort(samples)
	return stat.Quantile(0.025, stat.Empirical, samples, nil), stat.Quantile(0.975, stat.Empirical, samples, nil)
}

// McNemar is the exact one-sided test of paired outcomes: the probability of
// at least `wins` of wins + losses fair coins, so small when wins are more
// than luck. 1 when nothing differs.
func McNemar(wins, losses int) float64 {
	if wins <= 0 {
		return 1
	}
	// A binomial tail is the regularised incomplete beta function.
	return mathext.RegIncBeta(float64(wins), float64(losses+1), 0.5)
}

func sortedInts[V any](m map[int]V) []int { return slices.Sorted(maps.Keys(m)) }
