package model

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"crayon/internal/fault"
	"crayon/internal/kernel"
)

// Sampling says how the next token is drawn from the logits. The zero value is
// greedy: the likeliest token.
type Sampling struct {
	Temperature float64 // 0 is greedy; above 0 divides the logits
	TopK        int     // keep the k likeliest; 0 keeps all
	TopP        float64 // keep the likeliest until their probability reaches p; 0 or 1 keeps all
	MinP        float64 // drop tokens less likely than MinP times the likeliest; 0 drops none
	Seed        uint64  // of the generator
}

// Check reports the first setting that is out of range.
func (s Sampling) Check() error {
	bad := func(name string, v float64, want string) error {
		return &fault.Error{Op: "sampling", Path: name, Err: fmt.Errorf("%g is not %s", v, want), Exit: fault.ExitUsage}
	}
	switch {
	case !(s.Temperature >= 0 && s.Temperature <= 100):
		return bad("temperature", s.Temperature, "between 0 and 100")
	case s.TopK < 0:
		return bad("top_k", float64(s.TopK), "0 or more")
	case !(s.TopP >= 0 && s.TopP <= 1):
		return bad("top_p", s.TopP, "between 0 and 1")
	case !(s.MinP >= 0 && s.MinP <= 1):
		return bad("min_p", s.MinP, "between 0 and 1")
	}
	return nil
}

// Sampler draws tokens; equal settings and logits draw equal tokens.
type Sampler struct {
	s   Sampling
	rng *rand.Rand
	c   []candidate
}

type candidate struct {
	id int32
	p  float64
}

// NewSampler starts a generator at the settings' seed.
func NewSampler(s Sampling) *Sampler {
	return &Sampler{s: s, rng: rand.New(rand.NewPCG(s.Seed, 0x6372_6179_6f6e))}
}

// Next draws one token from logits, and returns its log-probability under the
// unchanged logits (temperature 1, nothing dropped).
func (s *Sampler) Next(logits []float32) (id int32, logProb float32) {
	norm := kernel.LogSumExp(logits)
	if s.s.Temperature == 0 {
		i := kernel.MaxIndex(logits)
		return int32(i), logits[i] - norm
	}
	s.c = s.c[:0]
	top := float64(logits[kernel.MaxIndex(logits)])
	floor := math.Inf(-1)
	if s.s.MinP > 0 {
		floor = top + s.s.Temperature*math.Log(s.s.MinP)
	}
	for i, l := range logits {
		if float64(l) >= floor {
			s.c = append(s.c, candidate{int32(i), math.Exp((float64(l) - top) / s.s.Temperature)})
		}
	}
	if len(s.c) == 0 { // no logit is a number
		return 0, logits[0] - norm
	}
	s.keepTop()
	var sum float64
	for _, c := range s.c {
		sum += c.p
	}
	sum = s.keepNucleus(sum)
	u := s.rng.Float64() * sum
	pick := s.c[0].id
	for _, c := range s.c {
		if c.p == 0 {
			continue
		}
		pick = c.id
		if u -= c.p; u < 0 {
			break
		}
	}
	return pick, logits[pick] - norm
}

// keepTop leaves the TopK likeliest candidates, the lower id at a tie.
func (s *Sampler) keepTop() {
	k := s.s.TopK
	if k <= 0 || k >= len(s.c) {
		return
	}
	// A heap of the best so far, the worst on top.
	h := s.c[:k]
	for i := k/2 - 1; i >= 0; i-- {
		sink(h, i)
	}
	for _, c := range s.c[k:] {
		if likelier(c, h[0]) {
			h[0] = c
			sink(h, 0)
		}
	}
	s.c = h
}

// keepNucleus leaves the likeliest candidates whose weights reach TopP of sum,
// and returns what the weights kept come to.
func (s *Sampler) keepNucleus(sum float64) float64 {
	if s.s.TopP <= 0 || s.s.TopP >= 1 {
		return sum
	}
	// All candidates below this bound together miss less than 1 - TopP, so none
	// of them is needed and few are left to be sorted.
	bound := (1 - s.s.TopP) * sum / float64(len(s.c)) * 0.999
	s.c = slices.DeleteFunc(s.c, func(c candidate) bool { return c.p < bound })
	slices.SortFunc(s.c, func(a, b candidate) int {
		if likelier(a, b) {
			return -1
		}
		return 1
	})
	var kept float64
	for i, c := range s.c {
		kept += c.p
		if kept >= s.s.TopP*sum {
			s.c = s.c[:i+1]
			break
		}
	}
	return kept
}

// likelier orders candidates: no two are equal, as ids differ.
func likelier(a, b candidate) bool {
	if a.p != b.p {
		return a.p > b.p
	}
	return a.id < b.id
}

// sink restores the heap h, the least likely on top, below i.
func sink(h []candidate, i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if likelier(h[least], h[child]) {
				least = child
			}
		}
		if least == i {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
