package model

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/fault"
)

func TestSamplingRanges(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, good := range []Sampling{{}, {Temperature: 100, TopK: 1, TopP: 1, MinP: 1}, {Temperature: 0.7, TopK: 40, TopP: 0.9, MinP: 0.05, Seed: math.MaxUint64}} {
		require.NoError(t, good.Check())
	}
	for _, bad := range []Sampling{
		{Temperature: -0.1}, {Temperature: 101}, {Temperature: nan}, {Temperature: inf},
		{TopK: -1}, {TopP: -0.1}, {TopP: 1.1}, {TopP: nan}, {MinP: -0.1}, {MinP: 1.1}, {MinP: nan},
	} {
		err := bad.Check()
		require.Error(t, err, "%+v", bad)
		require.Equal(t, fault.ExitUsage, fault.Code(err))
	}
}

// logits lie on a grid, so that ties are ties however they are computed.
func logits(t *rapid.T) []float32 {
	l := make([]float32, rapid.IntRange(1, 60).Draw(t, "size"))
	for i := range l {
		l[i] = float32(rapid.IntRange(-80, 80).Draw(t, "logit")) / 10
	}
	return l
}

func TestGreedy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := logits(t)
		s := NewSampler(Sampling{Seed: rapid.Uint64().Draw(t, "seed"), TopK: rapid.IntRange(0, 5).Draw(t, "k")})
		id, lp := s.Next(l)
		if want := slices.Index(l, slices.Max(l)); int(id) != want {
			t.Fatalf("drew %d, the likeliest is %d", id, want)
		}
		if want := logProb(l, int(id)); math.Abs(float64(lp)-want) > 1e-4 {
			t.Fatalf("log-probability %v, want %v", lp, want)
		}
	})
}

func logProb(l []float32, id int) float64 {
	var sum float64
	for _, x := range l {
		sum += math.Exp(float64(x))
	}
	return float64(l[id]) - math.Log(sum)
}

// kept is the textbook's set of tokens that may be drawn, with their
// probabilities: min-p, then top-k, then top-p over what is left.
func kept(s Sampling, l []float32) map[int32]float64 {
	type token struct {
		id int32
		p  float64
	}
	var all []token
	top := float64(slices.Max(l))
	for i, x := range l {
		all = append(all, token{int32(i), math.Exp((float64(x) - top) / s.Temperature)})
	}
	slices.SortFunc(all, func(a, b token) int {
		if a.p != b.p {
			if a.p > b.p {
				return -1
			}
			return 1
		}
		return int(a.id - b.id)
	})
	if s.MinP > 0 {
		all = slices.DeleteFunc(all, func(t token) bool { return t.p < s.MinP*(1-1e-12) })
	}
	if s.TopK > 0 && len(all) > s.TopK {
		all = all[:s.TopK]
	}
	sum := func() (x float64) {
		for _, t := range all {
			x += t.p
		}
		return x
	}
	if s.TopP > 0 && s.TopP < 1 {
		whole, part := sum(), 0.0
		for i, t := range all {
			if part += t.p; part >= s.TopP*whole {
				all = all[:i+1]
				break
			}
		}
	}
	out, whole := map[int32]float64{}, sum()
	for _, t := range all {
		out[t.id] = t.p / whole
	}
	return out
}

func TestDrawsOnlyWhatIsKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := logits(t)
		s := Sampling{
			Temperature: rapid.Float64Range(0.05, 3).Draw(t, "temperature"), TopK: rapid.IntRange(0, 70).Draw(t, "k"),
			TopP: rapid.Float64Range(0, 1).Draw(t, "p"), MinP: rapid.Float64Range(0, 1).Draw(t, "min p"), Seed: rapid.Uint64().Draw(t, "seed"),
		}
		may := kept(s, l)
		a, b := NewSampler(s), NewSampler(s)
		for range 30 {
			id, lp := a.Next(l)
			if may[id] == 0 {
				t.Fatalf("drew %d, kept are %v", id, may)
			}
			if want := logProb(l, int(id)); math.Abs(float64(lp)-want) > 1e-3 {
				t.Fatalf("log-probability %v, want that of the unchanged logits, %v", lp, want)
			}
			if again, _ := b.Next(l); again != id {
				t.Fatalf("one seed drew %d and %d", id, again)
			}
		}
	})
}

func TestDrawsByProbability(t *testing.T) {
	l := make([]float32, 40)
	for i := range l {
		l[i] = float32(i%13) / 4
	}
	const draws = 20000
	for _, s := range []Sampling{
		{Temperature: 1}, {Temperature: 0.5}, {Temperature: 2, TopK: 10}, {Temperature: 1, TopP: 0.6},
		{Temperature: 1, MinP: 0.4}, {Temperature: 0.8, TopK: 20, TopP: 0.9, MinP: 0.1},
	} {
		want, count := kept(s, l), map[int32]int{}
		sampler := NewSampler(s)
		for range draws {
			id, _ := sampler.Next(l)
			count[id]++
		}
		require.LessOrEqual(t, len(count), len(want))
		var chi float64
		for id, p := range want {
			d := float64(count[id]) - draws*p
			chi += d * d / (draws * p)
		}
		// The mean of chi squared is its degrees of freedom; six deviations above.
		f := float64(len(want) - 1)
		require.Less(t, chi, f+6*math.Sqrt(2*f)+1, "%+v", s)
	}
}

func TestSeedsDiffer(t *testing.T) {
	l := make([]float32, 1000)
	draw := func(seed uint64) (out []int32) {
		s := NewSampler(Sampling{Temperature: 1, Seed: seed})
		for range 20 {
			id, _ := s.Next(l)
			out = append(out, id)
		}
		return out
	}
	require.Equal(t, draw(1), draw(1))
	require.NotEqual(t, draw(1), draw(2))
}

// What a broken adapter makes of the logits must not end the program.
func TestSamplingSurvivesLogitsThatAreNotNumbers(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, l := range [][]float32{{nan}, {nan, nan}, {1, nan, 2}, {inf, 1}, {-inf, -inf}, {inf, inf}} {
		for _, s := range []Sampling{{}, {Temperature: 1}, {Temperature: 1, TopK: 1}, {Temperature: 1, TopP: 0.5}, {Temperature: 1, MinP: 0.5}} {
			id, _ := NewSampler(s).Next(l)
			require.Less(t, int(id), len(l))
		}
	}
}

func BenchmarkSample(b *testing.B) {
	l := make([]float32, 49152)
	for i := range l {
		l[i] = float32(i*7919%1000) / 100
	}
	for name, s := range map[string]Sampling{"all": {Temperature: 1}, "top-k": {Temperature: 1, TopK: 40}, "top-p": {Temperature: 1, TopP: 0.9}, "min-p": {Temperature: 1, MinP: 0.05}} {
		b.Run(name, func(b *testing.B) {
			sampler := NewSampler(s)
			for b.Loop() {
				sampler.Next(l)
			}
		})
	}
}
