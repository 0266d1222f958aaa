package strategy

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"

	"pgregory.net/rapid"

	"crayon/internal/pool"
)

// fake is an engine whose scores are a hash of all that an ask says, with a
// lean to candidates that the text has a letter of.
type fake struct {
	p     *pool.Pool
	calls int
	asks  []Ask
}

func newFake() *fake {
	rng := rand.New(rand.NewPCG(1, 2))
	p := &pool.Pool{Keep: 2, Feature: pool.Feature{Tau: 0.2, Mean: make([]float32, 8)}}
	for k := range 4 {
		p.Members = append(p.Members, pool.Member{Name: fmt.Sprint("m", k), Rank: 2, Indicator: direction(rng)})
	}
	p.Members = append(p.Members, pool.Member{Name: "shared", Rank: 2, Shared: true})
	return &fake{p: p}
}

// direction is a random unit vector.
func direction(rng *rand.Rand) []float32 {
	v, n := make([]float32, 8), 0.0
	for i := range v {
		v[i] = float32(rng.NormFloat64())
		n += float64(v[i]) * float64(v[i])
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(n))
	}
	return v
}

func (f *fake) Pool() *pool.Pool { return f.p }

func (f *fake) Score(_ context.Context, asks []Ask) ([][]Score, error) {
	f.calls++
	f.asks = append(f.asks, asks...)
	out := make([][]Score, len(asks))
	for i, a := range asks {
		for _, c := range a.Candidates {
			h := fnv.New64a()
			alone := a
			alone.Candidates = nil
			k := alone.Key()
			binary.Write(h, binary.LittleEndian, k.scale)
			fmt.Fprintf(h, "%s|%s", k.content, c)
			n := 1 + len(c)%4
			out[i] = append(out[i], Score{Sum: -float64(n) * (0.2 + float64(h.Sum64()%1000)/500), Tokens: n})
		}
	}
	return out, nil
}

// handSet is a prior that does not change when another is learned.
var handSet = func() *Prior {
	data, err := os.ReadFile("testdata/prior.json")
	if err != nil {
		panic(err)
	}
	p, err := ParsePrior(data)
	if err != nil {
		panic(err)
	}
	return p
}()

var answers = []string{"ant", "beetle", "cat", "dog and dog"}

// drawTask is a small task of a kind with n rows or more.
func drawTask(t *rapid.T, kind Kind, least int) Task {
	task := Task{Prior: handSet}
	if kind == Labels {
		task.Labels = answers
	}
	seed := rapid.Uint64().Draw(t, "directions")
	rng := rand.New(rand.NewPCG(seed, 3))
	for i := range rapid.IntRange(least, least+6).Draw(t, "rows") {
		task.Rows = append(task.Rows, drawRow(t, rng, kind, i))
	}
	return task
}

func drawRow(t *rapid.T, rng *rand.Rand, kind Kind, i int) Row {
	r := Row{Question: fmt.Sprintf("%s %d", rapid.StringMatching("[a-z ]{1,10}").Draw(t, "question"), i), Candidates: answers, Direction: direction(rng)}
	switch kind {
	case Fixed:
		r.Candidates = answers[:2]
	case Choices:
		r.Candidates = []string{fmt.Sprint("one ", i), fmt.Sprint("another ", i), "none"}
	}
	r.Gold = rapid.IntRange(-1, len(r.Candidates)-1).Draw(t, "gold")
	return r
}
