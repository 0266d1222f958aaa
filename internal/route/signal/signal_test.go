package signal

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func unit(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	var sum float64
	for i := range v {
		v[i] = float32(rng.NormFloat64())
		sum += float64(v[i]) * float64(v[i])
	}
	for i := range v {
		v[i] /= float32(math.Sqrt(sum))
	}
	return v
}

func observed(rng *rand.Rand, dim, examples, choices int) Observation {
	o := Observation{Query: "How many words, in 20 words, why?", QueryTokens: 9, Direction: unit(rng, dim), Earlier: [][]float32{unit(rng, dim)}, Tau: 0.1,
		Ended: rng.IntN(2) == 0, Others: map[string][]float64{}, Turns: 2, Past: []bool{true, false}, Samples: []float64{0.5}, ContextTokens: 4}
	for range examples {
		o.Examples = append(o.Examples, unit(rng, dim))
		o.Answers = append(o.Answers, rng.IntN(choices+1)-1)
	}
	o.Own = OwnScopes(o.Examples)
	for range 8 {
		o.Similarity = append(o.Similarity, float32(rng.Float64()*2-1))
		o.Blend = append(o.Blend, rng.Float32())
	}
	for range 32 {
		o.Draft = append(o.Draft, rng.Float64())
	}
	for _, name := range []string{Base, "shared", "stack"} {
		o.Others[name] = make([]float64, choices)
		for i := range o.Others[name] {
			o.Others[name][i] = rng.NormFloat64()
		}
	}
	for _, s := range registry {
		if name, ok := strings.CutPrefix(s.Name, "by_"); ok {
			o.Features = append(o.Features, name)
		}
	}
	for range choices {
		o.Choices = append(o.Choices, rng.NormFloat64())
		x := make([]float64, len(o.Features))
		for k := range x {
			x[k] = rng.NormFloat64()
		}
		o.Table = append(o.Table, x)
	}
	o.ProofRows, o.ProofRight = 16, 9
	return o
}

func TestRegistry(t *testing.T) {
	seen := map[string]bool{}
	for i, s := range All() {
		require.False(t, seen[s.Name], s.Name)
		seen[s.Name] = true
		require.Equal(t, i, Place(s.Name))
		require.NotEmpty(t, s.About)
		require.NotNil(t, s.of)
		require.Contains(t, []Kind{Scope, Confidence, Query, History}, s.Kind)
		require.Equal(t, s.Drafts > 0, s.Name == "samples_agree", "what costs a draft is to be off by default")
	}
	require.Equal(t, -1, Place("no such signal"))
	require.True(t, math.IsNaN(None().Get("no such signal")))
}

// Nothing measured is nothing known but of the (empty) text; everything measured
// is everything known.
func TestMissing(t *testing.T) {
	for i, x := range Measure(Observation{}) {
		switch name := registry[i].Name; name {
		case "context", "question_word", "reasoning", "turns":
			require.Zero(t, x, name)
		default:
			require.True(t, math.IsNaN(x), name)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	all := Measure(observed(rng, 16, 5, 4))
	for i, x := range all {
		require.False(t, math.IsNaN(x), registry[i].Name)
	}
	for i, x := range all.Early() {
		require.Equal(t, !registry[i].Early, math.IsNaN(x), registry[i].Name)
	}
	// Early signals are the same before the draft.
	o := observed(rand.New(rand.NewPCG(1, 2)), 16, 5, 4)
	o.Draft, o.Choices, o.Others, o.Samples, o.Features, o.Table = nil, nil, nil, nil, nil, nil
	before := Measure(o)
	for i, s := range registry {
		if s.Early {
			require.Equal(t, all[i], before[i], s.Name)
		}
	}
}

func TestMeasureProperties(t *testing.T) {
	within := map[string][2]float64{"mean_token": {0, 1}, "least_token": {0, 1}, "scope": {-1, 1}, "nearest": {-1, 1}, "scope_own": {0, 1}, "blend_entropy": {0, 1},
		"blend_overlap": {0, 1}, "choice_margin": {0, 1}, "choice_entropy": {0, 1}, "base_agrees": {0, 1}, "strategies_agree": {0, 1}, "strategies_spread": {0, 1},
		"neighbour_vote": {0, 1}, "numbers": {0, 1}, "code": {0, 1}, "latin": {0, 1}, "english": {0, 1}, "past_server": {0, 1}}
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		o := observed(rng, 8, rapid.IntRange(1, 9).Draw(t, "examples"), rapid.IntRange(2, 6).Draw(t, "choices"))
		o.Query = rapid.String().Draw(t, "query")
		v := Measure(o)
		require.Equal(t, v.Get("tokens"), Measure(o).Get("tokens"))
		for name, r := range within {
			if x := v.Get(name); !math.IsNaN(x) && (x < r[0]-1e-6 || x > r[1]+1e-6) {
				t.Fatalf("%s is %g", name, x)
			}
		}
		require.GreaterOrEqual(t, v.Get("nearest")+1e-9, v.Get("scope_last"))
		require.GreaterOrEqual(t, v.Get("mean_token")+1e-9, v.Get("least_token"))
		require.LessOrEqual(t, v.Get("mean_logprob"), math.Log(v.Get("mean_token"))+1e-9, "Jensen")
		// What is written is read, and names that are no more are left out.
		data, err := json.Marshal(v)
		require.NoError(t, err)
		var back Values
		require.NoError(t, json.Unmarshal([]byte(strings.Replace(string(data), "{", `{"gone":1,`, 1)), &back))
		for i := range v {
			if math.IsNaN(v[i]) {
				require.True(t, math.IsNaN(back[i]))
			} else {
				require.Equal(t, v[i], back[i])
			}
		}
		// The order of the examples does not matter.
		p := o
		p.Examples, p.Answers = nil, nil
		for _, i := range rng.Perm(len(o.Examples)) {
			p.Examples, p.Answers = append(p.Examples, o.Examples[i]), append(p.Answers, o.Answers[i])
		}
		w := Measure(p)
		for _, name := range []string{"scope", "nearest", "neighbour_vote"} {
			if x := v.Get(name); !math.IsNaN(x) {
				require.InDelta(t, x, w.Get(name), 1e-9, name)
			}
		}
	})
}

// A short turn is judged by what it follows, a long one by itself.
func TestEarlierTurnsCount(t *testing.T) {
	near, far := []float32{1, 0}, []float32{0, 1}
	o := Observation{Direction: far, Earlier: [][]float32{near}, Examples: [][]float32{near, near, near}, QueryTokens: 2}
	short := Measure(o)
	o.QueryTokens = 60
	long := Measure(o)
	o.Earlier = nil
	alone := Measure(o)
	require.InDelta(t, 0.8, short.Get("scope"), 1e-6)
	require.Less(t, long.Get("scope"), 0.15)
	require.Zero(t, alone.Get("scope"))
	require.Zero(t, short.Get("scope_last"))
	require.InDelta(t, 1, short.Get("past_scope"), 1e-6)
}

func TestText(t *testing.T) {
	get := func(q, name string) float64 { return Measure(Observation{Query: q}).Get(name) }
	for _, c := range []struct {
		query, name string
		want        float64
	}{
		{"write an essay on bees", "asked_length", math.Log(600)},
		{"say it in 50 words", "asked_length", math.Log(50)},
		{"give 3 sentences", "asked_length", math.Log(60)},
		{"name 5 rivers in one list", "asked_length", math.Log(60)},
		{"what is 2 and 3", "numbers", 2.0 / 5},
		{"```go\nx```", "code", 1},
		{"привет мир", "latin", 0},
		{"hello", "latin", 1},
		{"the cat is on the mat", "english", 4.0 / 6},
		{"Warum ist das so", "english", 0},
		{"Who is it?", "question_word", 1},
		{"Sing.", "question_word", 0},
		{"explain it", "reasoning", 1},
	} {
		require.InDelta(t, c.want, get(c.query, c.name), 1e-9, c.query)
	}
	require.True(t, math.IsNaN(get("hello there", "asked_length")))
	require.Equal(t, 1.0, get(strings.Repeat("é", mostRead), "latin"), "cut between characters")
	require.False(t, math.IsInf(get("write 99999999999999999999 words", "asked_length"), 0))
}

func TestNeighbourVote(t *testing.T) {
	near, far := []float32{1, 0}, []float32{0, 1}
	o := Observation{Direction: near, Examples: [][]float32{near, far, far}, Answers: []int{0, 1, -1}, Choices: []float64{1, 0}}
	require.Greater(t, Measure(o).Get("neighbour_vote"), 0.99)
	o.Choices = []float64{0, 1}
	require.Less(t, Measure(o).Get("neighbour_vote"), 0.01)
	o.Answers = []int{-1, -1, -1}
	require.True(t, math.IsNaN(Measure(o).Get("neighbour_vote")))
}

func TestMargin(t *testing.T) {
	o := Observation{Choices: []float64{0, 2, 1}, Features: []string{"chars", "vote"}, Table: [][]float64{{1, 5}, {4, 0}, {2, 1}}, ProofRows: 10, ProofRight: 7}
	v := Measure(o)
	require.Equal(t, 2.0, v.Get("by_chars"))
	require.Equal(t, -5.0, v.Get("by_vote"))
	require.True(t, math.IsNaN(v.Get("by_tokens")))
	require.InDelta(t, math.Log(8.0/4), v.Get("proof"), 1e-12)
	o.Table = o.Table[:2]
	require.True(t, math.IsNaN(Measure(o).Get("by_chars")))
	o.Table = [][]float64{{1}, {2}, nil}
	require.True(t, math.IsNaN(Measure(o).Get("by_chars")))
}

func FuzzText(f *testing.F) {
	f.Add("write 3 words, why? ``` x=1")
	f.Add("\xff\xfe 日本語 5 pages")
	f.Fuzz(func(t *testing.T, s string) {
		for i, x := range Measure(Observation{Query: s}) {
			if math.IsInf(x, 0) {
				t.Fatal(registry[i].Name)
			}
		}
	})
}

// BenchmarkMeasure is what all signals of a query take: 256 examples, 24
// adapters, 20 labels, three strategies beside the plan's own.
func BenchmarkMeasure(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	o := observed(rng, 576, 256, 20)
	o.Query = strings.Repeat("what is the matter with 12 of them? ", 20)
	for b.Loop() {
		Measure(o)
	}
}
