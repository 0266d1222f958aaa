package bench

import (
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat"
)

// task is a user as the figures see it.
type task struct {
	name, dataset string
	group         Group
	constant      bool
	credits       [][]float64 // row x strategy, 0 to 1
	chance        float64     // mean of 1 / choices
}

// datasets groups tasks by data set, in the order they come.
func datasets(tasks []*task) [][]*task {
	var out [][]*task
	index := map[string]int{}
	for _, t := range tasks {
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

// accuracy is the mean credit of one strategy.
func (t *task) accuracy(strategy int) float64 {
	sum := 0.0
	for _, c := range t.credits {
		sum += c[strategy]
	}
	return sum / float64(len(t.credits))
}

// macro is the mean over data sets of the mean over their tasks of f.
func macro(sets [][]*task, f func(*task) float64) float64 {
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

// bootstrap resamples data sets, in each its users, in each its rows, all with
// replacement, and returns the macro accuracies: strategy x resample. All
// strategies see the same draws, so differences of theirs are paired.
func bootstrap(sets [][]*task, strategies, resamples int, seed uint64) [][]float64 {
	rng := rand.New(rand.NewPCG(seed, 0x62656e6368))
	out := make([][]float64, strategies)
	for s := range out {
		out[s] = make([]float64, resamples)
	}
	sum := make([]float64, strategies)
	for b := range resamples {
		for range sets {
			set := sets[rng.IntN(len(sets))]
			for range set {
				t := set[rng.IntN(len(set))]
				clear(sum)
				for range t.credits {
					for s, c := range t.credits[rng.IntN(len(t.credits))] {
						sum[s] += c
					}
				}
				scale := 1 / (float64(len(t.credits)) * float64(len(set)) * float64(len(sets)))
				for s := range sum {
					out[s][b] += sum[s] * scale
				}
			}
		}
	}
	return out
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
