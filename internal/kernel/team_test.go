package kernel

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Every number is visited once, whatever the shape.
func TestTeamFor(t *testing.T) {
	teams := []*Team{nil, NewTeam(1), NewTeam(2), NewTeam(5)}
	defer func() {
		for _, team := range teams {
			team.Close()
		}
	}()
	rapid.Check(t, func(t *rapid.T) {
		team := rapid.SampledFrom(teams).Draw(t, "team")
		n, grain := rapid.IntRange(-1, 300).Draw(t, "n"), rapid.IntRange(-1, 50).Draw(t, "grain")
		seen := make([]atomic.Int32, max(n, 0))
		team.For(n, grain, func(lo, hi int) {
			if lo >= hi {
				t.Errorf("empty range %d..%d", lo, hi)
			}
			for i := lo; i < hi; i++ {
				seen[i].Add(1)
			}
		})
		for i := range seen {
			if c := seen[i].Load(); c != 1 {
				t.Fatalf("%d visited %d times", i, c)
			}
		}
	})
}

// What the bodies write is seen after For without more synchronisation.
func TestTeamPublishes(t *testing.T) {
	team := NewTeam(4)
	defer team.Close()
	x := make([]int, 64)
	for round := range 2000 {
		team.For(len(x), 1, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				x[i] += round
			}
		})
		for i := range x {
			if x[i] != round*(round+1)/2 {
				t.Fatalf("round %d: x[%d] = %d", round, i, x[i])
			}
		}
	}
}

func TestTeamNestedAndConcurrent(t *testing.T) {
	team := NewTeam(3)
	defer team.Close()
	var total atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				team.For(10, 1, func(lo, hi int) {
					team.For(10*(hi-lo), 2, func(lo, hi int) { total.Add(int64(hi - lo)) })
				})
			}
		})
	}
	wg.Wait()
	if got := total.Load(); got != 4*50*100 {
		t.Errorf("%d, want %d", got, 4*50*100)
	}
}

// A sleeping team wakes, a slow worker is waited for, and both are used.
func TestTeamSleepsAndWakes(t *testing.T) {
	team := NewTeam(2)
	defer team.Close()
	for range 5 {
		deadline := time.Now().Add(10 * time.Second)
		for team.sleeping.Load() != 1 {
			if time.Now().After(deadline) {
				t.Fatal("the worker does not sleep")
			}
			time.Sleep(time.Millisecond)
		}
		var both sync.WaitGroup
		both.Add(2)
		team.For(2, 1, func(int, int) {
			both.Done()
			both.Wait() // returns only if two goroutines are here at once
		})
		team.For(2, 1, func(lo, _ int) {
			time.Sleep(time.Duration(lo) * 2 * time.Millisecond)
		})
	}
}

func TestTeamClose(t *testing.T) {
	before := runtime.NumGoroutine()
	team := NewTeam(4)
	team.For(100, 1, func(int, int) {})
	team.Close()
	team.Close()
	// A worker is counted a moment longer than Close waits for it.
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines left", runtime.NumGoroutine()-before)
		}
	}
	n := 0
	team.For(5, 1, func(lo, hi int) { n += hi - lo })
	if n != 5 {
		t.Errorf("after Close: %d of 5", n)
	}
	var none *Team
	none.Close()
	if none.Threads() != 1 || team.Threads() != 4 {
		t.Error("wrong number of threads")
	}
}

func BenchmarkTeam(b *testing.B) {
	team := NewTeam(0)
	defer team.Close()
	least := fastest(b, func() { team.For(8, 1, func(int, int) {}) })
	b.ReportMetric(least*1e9, "ns/for")
}

// Loops of changing size follow each other as fast as they can: a thread that
// comes late from one must not take a chunk of the next for its own.
func TestTeamLateThread(t *testing.T) {
	team := NewTeam(3)
	defer team.Close()
	for round := range 200_000 {
		n := 2 + round%7
		var sum atomic.Int64
		team.For(n, 1, func(lo, hi int) { sum.Add(int64(hi - lo)) })
		if sum.Load() != int64(n) {
			t.Fatalf("round %d: %d of %d", round, sum.Load(), n)
		}
	}
}
