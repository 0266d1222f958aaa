package main

import (
	"math"
	"runtime"
	"runtime/debug"
)

// usage is memory taken from the heap, whether or not it was given back.
type usage struct{ allocs, bytes int64 }

func used() usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{int64(m.Mallocs), int64(m.TotalAlloc)}
}

// repeats is how often a piece of work is done: the least counts, as what else
// goes on in the process only adds.
const repeats = 5

// least measures the usage of f in several runs and returns the least of each
// figure. f is given the number of the run and calls begin where what counts
// begins. A first run readies what is kept from one to the next; the collector
// rests meanwhile, as it would empty pools.
func least(f func(run int, begin func()) error) (usage, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	best := usage{math.MaxInt64, math.MaxInt64}
	for run := range repeats + 1 {
		var before usage
		if err := f(run, func() { before = used() }); err != nil {
			return usage{}, err
		}
		after := used()
		if run > 0 {
			best = usage{min(best.allocs, after.allocs-before.allocs), min(best.bytes, after.bytes-before.bytes)}
		}
	}
	return best, nil
}

// addUsage notes the two counts of some work, each of n times it was done.
func (s *subject) addUsage(work, what string, u usage, n int64) {
	s.add(work+".allocs", "heap allocations "+what, (u.allocs+n/2)/n, allocs)
	s.add(work+".bytes", "heap bytes "+what, (u.bytes+n/2)/n, heap)
}
