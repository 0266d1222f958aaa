// Package signal is what a query is judged by before it is decided who answers:
// numbers over what the passes of one query measured anyway. It is pure, and the
// benchmark and the product measure by the same code.
package signal

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// Kind is what a signal speaks of.
type Kind string

// The kinds. Of the two triggers, out of scope is told from Scope and low
// confidence from Confidence.
const (
	Scope      Kind = "scope"
	Confidence Kind = "confidence"
	Query      Kind = "query"
	History    Kind = "history"
)

// Signal is one number a query.
type Signal struct {
	Name   string
	Kind   Kind
	About  string // in a few words
	Early  bool   // known before anything is drafted
	Drafts int    // drafts of its own that it costs; those with any are off by default

	of func(*seen) float64 // NaN: not measured
}

// registry is every signal, in the order of vectors and tables: each in a file
// of its own.
var registry = []Signal{
	scope, scopeLast, nearest, scopeOwn, poolScope, poolMargin, blendEntropy, blendOverlap,
	meanToken, leastToken, meanLogProb, draftEnded, choiceTop, choiceMargin, choiceEntropy,
	baseAgrees, strategiesAgree, strategiesSpread, neighbourVote, samplesAgree, proof,
	margin("base_mean"), margin("shared_mean"), margin("blend_mean"), margin("shots_mean"), margin("shared_shots_mean"),
	margin("base_sum"), margin("shared_sum"), margin("blend_sum"), margin("base_pmi"), margin("blend_pmi"),
	margin("base_calibrated"), margin("shared_calibrated"), margin("blend_calibrated"),
	margin("tokens"), margin("chars"), margin("position"), margin("in_question"), margin("in_context"),
	margin("sim_max"), margin("sim_mean"), margin("vote"), margin("frequency"),
	tokens, contextTokens, numbers, code, askedLength, latin, english, questionWord, reasoning, choices,
	turns, pastServer, pastScope,
}

var places = func() map[string]int {
	m := make(map[string]int, len(registry))
	for i, s := range registry {
		m[s.Name] = i
	}
	return m
}()

// All are the signals in the order of Values.
func All() []Signal { return slices.Clone(registry) }

// Count is how many there are.
func Count() int { return len(registry) }

// Place is where a signal stands in Values; -1 if there is none of this name.
func Place(name string) int {
	if i, ok := places[name]; ok {
		return i
	}
	return -1
}

// Values are one number a signal, in the order of All; NaN: not measured.
type Values []float64

// None has nothing measured.
func None() Values {
	v := make(Values, len(registry))
	for i := range v {
		v[i] = math.NaN()
	}
	return v
}

// Get is a signal's value; NaN where it was not measured, or is not known.
func (v Values) Get(name string) float64 {
	i := Place(name)
	if i < 0 || i >= len(v) {
		return math.NaN()
	}
	return v[i]
}

// Early are the values without what only a draft tells.
func (v Values) Early() Values {
	out := slices.Clone(v)
	for i, s := range registry {
		if !s.Early && i < len(out) {
			out[i] = math.NaN()
		}
	}
	return out
}

// MarshalJSON writes what was measured, by name.
func (v Values) MarshalJSON() ([]byte, error) {
	m := make(map[string]float64, len(v))
	for i, x := range v {
		if i < len(registry) && !math.IsNaN(x) && !math.IsInf(x, 0) {
			m[registry[i].Name] = x
		}
	}
	return json.Marshal(m)
}

// UnmarshalJSON reads what MarshalJSON writes. Names of signals that are not
// known any more are left out.
func (v *Values) UnmarshalJSON(data []byte) error {
	var m map[string]*float64
	if err := json.Unmarshal(data, &m); err != nil {
		return fmt.Errorf("signals: %w", err)
	}
	*v = None()
	for name, x := range m {
		if i := Place(name); i >= 0 && x != nil {
			(*v)[i] = *x
		}
	}
	return nil
}

// Measure computes every signal. What an observation does not hold is NaN, as is
// what comes out infinite.
func Measure(o Observation) Values {
	s := look(o)
	v := make(Values, len(registry))
	for i := range registry {
		if x := registry[i].of(s); !math.IsInf(x, 0) {
			v[i] = x
		} else {
			v[i] = math.NaN()
		}
	}
	return v
}
