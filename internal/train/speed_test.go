//go:build unix

package train

import (
	"context"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crayon/internal/arch"
	"crayon/internal/gguf"
	"crayon/internal/kernel"
	"crayon/internal/reference"
	"crayon/internal/testmodel"
)

// BenchmarkStep is one optimiser step of the default pool's shape on the real
// model: run it with -benchtime 2x.
func BenchmarkStep(b *testing.B) {
	for _, micro := range []int{512, 1024} {
		b.Run(fmt.Sprintf("micro=%d", micro), func(b *testing.B) { benchmarkStep(b, micro) })
	}
}

func benchmarkStep(b *testing.B, micro int) {
	f, err := gguf.Open(testmodel.Path(b))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	a, err := arch.FromGGUF(f)
	if err != nil {
		b.Fatal(err)
	}
	w, err := reference.Load(f, a)
	if err != nil {
		b.Fatal(err)
	}
	c := Config{Adapters: 8, Rank: 3, SharedRank: 8, StepTokens: 2048, MicroTokens: micro}.withDefaults()
	var shapes [][]int
	for i := range 40 {
		shapes = append(shapes, []int{40 + 37*i%160, 3, 2 + i%5, 4, 2, 3}[:3+i%4])
	}
	examples := randomExamples(a, 8, 1, shapes...)
	p := NewParams(a, c)
	var tasks []Task
	for _, e := range examples {
		tasks = append(tasks, newTask(c, p, e))
	}
	crew := newCrew(c, p, w.Fuse(p.Stacked(), p.A, p.B))
	state := newState(p)
	steps := schedule(c, tasks)
	// Once before the clock starts: the buffers grow.
	if _, err := crew.run(context.Background(), steps[0], tasks); err != nil {
		b.Fatal(err)
	}
	tokens, count, used := 0, 0, processor(b)
	b.ResetTimer()
	for i := range b.N {
		s := steps[i%len(steps)]
		if _, err := crew.run(context.Background(), s, tasks); err != nil {
			b.Fatal(err)
		}
		update(state, c.Workers, i, 1e-4, norm(c.Workers, crew.total), crew.total)
		tokens += s.Tokens
		count += s.Examples
	}
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
	own := float64(tokens) / (processor(b) - used)
	b.ReportMetric(own, "tokens/cpu-s") // the figure to trust on a busy machine
	b.StopTimer()
	// Products of a token, but for the last layer, which most tokens need little of.
	linear := 0
	for k := range arch.Kinds {
		out, in := a.Shape(k)
		linear += out * in
	}
	products := float64(a.Layers-1) * float64(4*linear+6*p.Stacked()*a.RankParams()/a.Layers)
	if peak := kernel.Measure(nil, time.Second/4, make([]byte, 1<<20)).Float; peak > 0 {
		b.ReportMetric(own*products/peak, "of-peak")
	}
	b.ReportMetric(float64(count)/b.Elapsed().Seconds(), "examples/s")
}

// processor is the processor time the program's own code has used, in seconds.
func processor(b *testing.B) float64 {
	b.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}
