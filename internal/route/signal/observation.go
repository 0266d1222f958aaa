package signal

import (
	"maps"
	"math"
	"slices"
)

// Observation is what the passes of one query measured. The zero value of a
// field says that it was not measured.
type Observation struct {
	Query   string // the user's last turn
	Context string // the text it is about

	QueryTokens, ContextTokens int

	Direction  []float32   // the query's feature, unit length (pool.Direction)
	Earlier    [][]float32 // those of earlier turns of the user, the oldest first
	Examples   [][]float32 // those of the user's examples
	Own        []float64   // each example's Nearness to the others, ascending (OwnScopes)
	Similarity []float32   // cosine with each of the pool's indicators
	Tau        float64     // temperature of the softmax over them
	Blend      []float32   // the customisation's weight an indicator

	Draft []float64 // probabilities of the drafted tokens, in order
	Ended bool      // the draft is the whole answer

	Choices  []float64            // a score a choice; their softmax is the plan's probability
	Others   map[string][]float64 // such scores of other strategies, as far as they are known anyway; that of Base is the bare model's
	Features []string             // names of what a stack reads of the choices
	Table    [][]float64          // [choice][feature] (strategy.Table)

	ProofRows  int     // of the user's examples, answered without themselves
	ProofRight float64 // how many of them were right

	Answers []int     // of each of Examples, which choice it has; -1: none
	Samples []float64 // how far each further draft agrees with the first, 0 to 1

	Turns int    // messages before the query
	Past  []bool // earlier decisions of the conversation: the server answered
}

// Base is the name in Observation.Others of the bare model's scores.
const Base = "base"

// Neighbours is how many of the user's examples a query is compared with.
const Neighbours = 3

// seen is an observation with what several signals need of it, computed once.
type seen struct {
	Observation
	cosines []float64 // with each example
	last    float64   // nearness of the query alone
	talk    float64   // nearness of the conversation
	earlier []float64 // nearness of each earlier turn
	weights []float64 // the query's own blend
	probs   []float64 // of the choices
	best    int       // likeliest choice; -1: none
	others  []string  // names in Others that are as long as Choices, sorted
	text    traits
}

func look(o Observation) *seen {
	s := &seen{Observation: o, best: -1, last: math.NaN(), talk: math.NaN()}
	if o.Direction != nil && len(o.Examples) > 0 {
		s.cosines = make([]float64, len(o.Examples))
		for i, e := range o.Examples {
			s.cosines[i] = dot(o.Direction, e)
		}
		s.last = meanOfBest(s.cosines, Neighbours)
		for _, e := range o.Earlier[max(0, len(o.Earlier)-mostEarlier):] {
			s.earlier = append(s.earlier, Nearness(e, o.Examples))
		}
		s.talk = conversation(s.last, s.earlier, o.QueryTokens)
	}
	if len(o.Similarity) > 0 && o.Tau > 0 {
		scaled := make([]float64, len(o.Similarity))
		for i, x := range o.Similarity {
			scaled[i] = float64(x) / o.Tau
		}
		s.weights = softmax(scaled)
	}
	if len(o.Choices) > 1 {
		s.probs = softmax(o.Choices)
		s.best = argmax(s.probs)
		for _, name := range slices.Sorted(maps.Keys(o.Others)) {
			if len(o.Others[name]) == len(o.Choices) {
				s.others = append(s.others, name)
			}
		}
	}
	s.text = read(o.Query)
	return s
}

// mostEarlier is how many earlier turns of the user count.
const mostEarlier = 3

// conversation is the nearness of a query with the turns before it: a short one
// ("and the other?") is judged mostly by what it follows, a long one by itself.
// A query of halfAlone tokens counts as much as all turns before it.
func conversation(last float64, earlier []float64, tokens int) float64 {
	if len(earlier) == 0 || math.IsNaN(last) {
		return last
	}
	var sum float64
	for _, x := range earlier {
		sum += x
	}
	own := float64(tokens) / float64(tokens+halfAlone)
	return own*last + (1-own)*sum/float64(len(earlier))
}

const halfAlone = 8

// Nearness is the mean cosine of a unit vector with the Neighbours nearest of a
// set; NaN for an empty one.
func Nearness(direction []float32, set [][]float32) float64 {
	cosines := make([]float64, len(set))
	for i, e := range set {
		cosines[i] = dot(direction, e)
	}
	return meanOfBest(cosines, Neighbours)
}

// OwnScopes are each example's Nearness to the others, ascending: what a query
// of the user's own is expected to have. It takes len(examples)^2/2 products;
// nil for a single example.
func OwnScopes(examples [][]float32) []float64 {
	n := len(examples)
	if n < 2 {
		return nil
	}
	cosines := make([][]float64, n)
	for i := range examples {
		for j := range i {
			c := dot(examples[i], examples[j])
			cosines[i] = append(cosines[i], c)
			cosines[j] = append(cosines[j], c)
		}
	}
	out := make([]float64, n)
	for i := range out {
		out[i] = meanOfBest(cosines[i], Neighbours)
	}
	slices.Sort(out)
	return out
}

// dot is the product of two vectors, as far as both go, -1 to 1: cosines of unit
// vectors.
func dot(a, b []float32) float64 {
	n := min(len(a), len(b))
	a, b = a[:n], b[:n]
	var s0, s1, s2, s3 float32
	i := 0
	for ; i+4 <= n; i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for ; i < n; i++ {
		s0 += a[i] * b[i]
	}
	return max(-1, min(1, float64(s0+s1)+float64(s2+s3)))
}

// meanOfBest is the mean of the k largest. NaN when there are none.
func meanOfBest(xs []float64, k int) float64 {
	k = min(k, len(xs))
	if k == 0 {
		return math.NaN()
	}
	top := make([]float64, 0, k+1)
	for _, x := range xs {
		i := len(top)
		for i > 0 && top[i-1] < x {
			i--
		}
		if i < k {
			top = slices.Insert(top, i, x)[:min(k, len(top)+1)]
		}
	}
	var sum float64
	for _, x := range top {
		sum += x
	}
	return sum / float64(k)
}

func softmax(scores []float64) []float64 {
	p := make([]float64, len(scores))
	if len(p) == 0 {
		return p
	}
	top, sum := slices.Max(scores), 0.0
	for i, s := range scores {
		p[i] = math.Exp(s - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// argmax is the index of the largest, the first at a tie.
func argmax(xs []float64) int {
	best := 0
	for i, x := range xs {
		if x > xs[best] {
			best = i
		}
	}
	return best
}

// entropy of a distribution over its logarithm's largest, 0 (sure) to 1 (even).
func entropy(p []float64) float64 {
	if len(p) < 2 {
		return math.NaN()
	}
	var h float64
	for _, x := range p {
		if x > 0 {
			h -= x * math.Log(x)
		}
	}
	return h / math.Log(float64(len(p)))
}
