package calibrate

import (
	"fmt"
	"math"
	"math/rand/v2"

	"crayon/internal/route/signal"
)

// world draws rows whose probabilities are known.
type world struct {
	rng      *rand.Rand
	users    int
	noise    float64 // of users' levels
	server   float64 // share of its answers that are right; 0: not known
	unlabels float64 // share of rows without choices
}

// truth is a row with the probabilities it was drawn from.
type truth struct {
	Row
	device, server float64
}

func (w world) rows(n int) []truth {
	levels := make([]float64, max(1, w.users))
	for i := range levels {
		levels[i] = w.noise * w.rng.NormFloat64()
	}
	out := make([]truth, n)
	for i := range out {
		u := w.rng.IntN(len(levels))
		v := signal.None()
		set := func(name string, x float64) { v[signal.Place(name)] = x }
		scope, margin, words := w.rng.Float64()*0.6, w.rng.Float64(), w.rng.NormFloat64()
		set("scope", scope)
		set("tokens", 2+words/2)
		set("question_word", float64(w.rng.IntN(2)))
		logit := -1.2 + levels[u] + 3*scope - 0.3*words
		if w.rng.Float64() >= w.unlabels {
			set("choice_margin", margin)
			logit += 2 * (margin - 0.5)
		} else {
			set("mean_token", margin)
			logit += margin
		}
		t := truth{device: sigmoid(logit), server: sigmoid(math.Log(w.server/(1-w.server)) + 0.5*words)}
		t.Row = Row{User: fmt.Sprint("u", u), Group: fmt.Sprint("g", u%10), Signals: v, Device: w.draw(t.device), Server: w.draw(t.server)}
		if w.server == 0 {
			t.Row.Server, t.server = math.NaN(), 0
		}
		out[i] = t
	}
	return out
}

func (w world) draw(p float64) float64 {
	if w.rng.Float64() < p {
		return 1
	}
	return 0
}

func plain(ts []truth) []Row {
	out := make([]Row, len(ts))
	for i, t := range ts {
		out[i] = t.Row
	}
	return out
}

func newWorld(seed uint64) world {
	return world{rng: rand.New(rand.NewPCG(seed, 9)), users: 1, server: 0.6, unlabels: 0.3}
}
