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
	if s.s.TopK > 0 || s.s.TopP > 0 && s.s.TopP < 1 {
		slices.SortFunc(s.c, func(a, b candidate) int {
			if a.p != b.p {
				if a.p > b.p {
					return -1
				}
				return 1
			}
			return int(a.id) - int(b.id)
		})
		if s.s.TopK > 0 && s.s.TopK < len(s.c) {
			s.c = s.c[:s.s.TopK]
		}
	}
	var sum float64
	for _, c := range s.c {
		sum += c.p
	}
	if s.s.TopP > 0 && s.s.TopP < 1 {
		var kept float64
		for i, c := range s.c {
			kept += c.p
			if kept >= s.s.TopP*sum {
				s.c, sum = s.c[:i+1], kept
				break
			}
		}
	}
	u := s.rng.Float64() * sum
	pick := s.c[len(s.c)-1].id
	for _, c := range s.c {
		if u -= c.p; u < 0 {
			pick = c.id
			break
		}
	}
	return pick, logits[pick] - norm
}
