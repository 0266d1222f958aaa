package bench

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"sync"

	"crayon/internal/qa"
)

// The bootstrap resamples data sets, in each its users, of each its draws of
// examples and its rows, and over all users whose pools were trained together
// (those of one fold, where a fold left them out) the training seeds: all with replacement. All strategies see
// the same resamples, so differences of theirs are paired.
//
// Resampled rows and draws of a user are computed once (fill) and drawn from
// by every section: a table has hundreds of sections, and rows are many.

// fill makes each subject's bank: for every resample its accuracy by training
// and strategy over resampled draws and rows, the same ones for all trainings.
// A bank depends on the seed and the user alone.
func fill(subjects []*subject, strategies, resamples int, seed uint64) {
	var wg sync.WaitGroup
	next := make(chan *subject)
	for range min(len(subjects), runtime.GOMAXPROCS(0)) {
		wg.Go(func() {
			for t := range next {
				t.fill(strategies, resamples, seed)
			}
		})
	}
	for _, t := range subjects {
		next <- t
	}
	close(next)
	wg.Wait()
}

func (t *subject) fill(strategies, resamples int, seed uint64) {
	key := qa.Hash(seed, "bootstrap", t.name)
	rng := rand.New(rand.NewPCG(binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])))
	t.bank = make([][][]float64, resamples)
	rows := make([]int, t.rows) // how often each was drawn
	for b := range t.bank {
		clear(rows)
		for range rows {
			rows[rng.IntN(len(rows))]++
		}
		t.bank[b] = make([][]float64, len(t.credits))
		for i, draws := range t.credits {
			t.bank[b][i] = make([]float64, strategies)
			times := make([]int, len(draws))
			for range draws {
				times[rng.IntN(len(draws))]++
			}
			t.add(t.bank[b][i], draws, times, rows)
		}
	}
}

// add fills sum with the accuracy over draws and rows, each as often as drawn.
func (t *subject) add(sum []float64, draws [][]float64, times, rows []int) {
	n := len(sum)
	scale := 1 / (float64(t.rows) * float64(len(draws)))
	for d, credits := range draws {
		if times[d] == 0 {
			continue
		}
		for r, often := range rows {
			if often == 0 {
				continue
			}
			weight := float64(often*times[d]) * scale
			for s, c := range credits[r*n : (r+1)*n] {
				sum[s] += weight * c
			}
		}
	}
}

// bootstrap returns the macro accuracies over the sets: strategy x resample.
func bootstrap(sets [][]*subject, strategies, resamples int, seed uint64) [][]float64 {
	rng := rand.New(rand.NewPCG(seed, 0x62656e6368))
	out := make([][]float64, strategies)
	for s := range out {
		out[s] = make([]float64, resamples)
	}
	trainings := map[int]int{} // by pool
	for _, set := range sets {
		for _, t := range set {
			trainings[t.pool] = max(trainings[t.pool], len(t.credits))
		}
	}
	pools := sortedInts(trainings)
	drawn := map[int][]int{}
	for b := range resamples {
		for _, f := range pools {
			drawn[f] = drawn[f][:0]
			for range trainings[f] {
				drawn[f] = append(drawn[f], rng.IntN(trainings[f]))
			}
		}
		for range sets {
			set := sets[rng.IntN(len(sets))]
			for range set {
				t := set[rng.IntN(len(set))]
				mean := t.bank[rng.IntN(len(t.bank))]
				of := drawn[t.pool]
				scale := 1 / (float64(len(of)) * float64(len(set)) * float64(len(sets)))
				for _, i := range of {
					for s, x := range mean[i%len(mean)] {
						out[s][b] += x * scale
					}
				}
			}
		}
	}
	return out
}
