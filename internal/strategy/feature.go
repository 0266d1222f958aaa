package strategy

import (
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"crayon/internal/pool"
	"crayon/internal/task"
)

// The passes: the weights and prompts that a stack scores candidates under.
const (
	passBase       = "base"
	passShared     = "shared"
	passBlend      = "blend"
	passShots      = "shots" // the blend, worked examples in the prompt
	passSharedShot = "shared_shots"
	passEmptyBase  = "empty_base"  // the base model, without the question
	passEmptyBlend = "empty_blend" // the blend, without the question
)

// passes in the order they are asked.
var passes = []string{passBase, passShared, passBlend, passShots, passSharedShot, passEmptyBase, passEmptyBlend}

// ofQuestion are the passes that read the question: their mean over the
// examples is a candidate's level.
var ofQuestion = []string{passBase, passShared, passBlend}

// unasked are the passes without a question: what candidates score under them
// is the same whatever is asked.
var unasked = []string{passEmptyBase, passEmptyBlend}

// askOf is the ask of a pass. self is the row's own index in t, or -1.
func askOf(pass string, in *pool.Pool, t Task, blend []float32, q Row, self int) Ask {
	a := Ask{Text: task.Text(q.Question, q.Context, t.Labels), Candidates: q.Candidates}
	switch pass {
	case passShared:
		a.Members = sharedAlone(in)
	case passBlend:
		a.Members = blend
	case passShots, passSharedShot:
		a.Members = blend
		if pass == passSharedShot {
			a.Members = sharedAlone(in)
		}
		if self >= 0 {
			t = t.Without(self)
		}
		a.Shots = worked(t, q.Direction, trainedShots, 0)
	case passEmptyBase:
		a.Text = task.Text("", "", t.Labels)
	case passEmptyBlend:
		a.Text, a.Members = task.Text("", "", t.Labels), blend
	}
	return a
}

// sight is one row as the features see it.
type sight struct {
	row    *Row
	raw    map[string][]Score   // by pass, one a candidate
	level  map[string][]float64 // by pass, one a candidate; nil: not known
	seen   []evidence           // one a candidate
	words  map[string]bool      // of the question
	around map[string]bool      // words of the context
}

// evidence is what labelled rows, but for the row itself, say of a candidate.
type evidence struct {
	count     int     // rows whose answer it is
	max, mean float64 // of their cosines with the row; 0 without any: as of two questions that have nothing in common
	vote      float64 // sum of exp(cosine / voteTau)
	whole     float64 // the same, the mean over all rows
}

// voteTau is the temperature of the kernel vote.
const voteTau = 0.1

// feature is one number a candidate.
type feature struct {
	name, about string
	passes      []string
	held        bool // not moved by the user's own rows: a row left out leaves a count one lower, which tells its answer
	of          func(s *sight, j int) float64
}

// features in the order of tables. Each is centred over a row's candidates.
var features = []feature{
	mean(passBase), mean(passShared), mean(passBlend), mean(passShots), mean(passSharedShot),
	total(passBase), total(passShared), total(passBlend),
	pmi(passBase, passEmptyBase), pmi(passBlend, passEmptyBlend),
	calibrated(passBase), calibrated(passShared), calibrated(passBlend),
	{name: "tokens", about: "tokens of the candidate", passes: []string{passBase}, of: func(s *sight, j int) float64 { return float64(s.raw[passBase][j].Tokens) }},
	{name: "chars", about: "logarithm of its length", of: func(s *sight, j int) float64 {
		return math.Log1p(float64(utf8.RuneCountInString(s.row.Candidates[j])))
	}},
	{name: "position", about: "its place among the candidates, 0 to 1", of: func(s *sight, j int) float64 {
		return float64(j) / float64(max(1, len(s.row.Candidates)-1))
	}},
	{name: "in_question", about: "share of its words that the question has", of: func(s *sight, j int) float64 { return overlap(s.row.Candidates[j], s.words) }},
	{name: "in_context", about: "share of its words that the context has", of: func(s *sight, j int) float64 { return overlap(s.row.Candidates[j], s.around) }},
	{name: "sim_max", about: "largest cosine of the question with examples of this answer", of: func(s *sight, j int) float64 { return s.seen[j].max }},
	{name: "sim_mean", about: "mean cosine of the question with examples of this answer", of: func(s *sight, j int) float64 { return s.seen[j].mean }},
	{name: "vote", about: "logarithm of the kernel vote of the examples", held: true, of: func(s *sight, j int) float64 {
		e := s.seen[j]
		if e.whole == 0 {
			return 0
		}
		return math.Log(e.vote/e.whole + 0.5)
	}},
	{name: "frequency", about: "logarithm of how many examples have this answer", held: true, of: func(s *sight, j int) float64 {
		return math.Log(float64(s.seen[j].count) + 0.5)
	}},
}

func mean(pass string) feature {
	return feature{name: pass + "_mean", about: "log-probability a token, " + pass, passes: []string{pass},
		of: func(s *sight, j int) float64 { return s.raw[pass][j].Mean() }}
}

func total(pass string) feature {
	return feature{name: pass + "_sum", about: "log-probability, " + pass, passes: []string{pass},
		of: func(s *sight, j int) float64 { return s.raw[pass][j].Sum }}
}

func pmi(pass, empty string) feature {
	return feature{name: pass + "_pmi", about: "log-probability a token, less that without the question, " + pass, passes: []string{pass, empty},
		of: func(s *sight, j int) float64 { return s.raw[pass][j].Mean() - s.raw[empty][j].Mean() }}
}

// calibrated follows batch calibration (Zhou et al., arXiv:2309.17249).
func calibrated(pass string) feature {
	return feature{name: pass + "_calibrated", about: "log-probability a token, less its mean over the examples' questions, " + pass, passes: []string{pass},
		of: func(s *sight, j int) float64 {
			level := s.level[pass]
			if level == nil {
				return 0
			}
			return s.raw[pass][j].Mean() - level[j]
		}}
}

// FeatureNames are the names of all features, in the order of tables.
func FeatureNames() []string {
	names := make([]string, len(features))
	for i, f := range features {
		names[i] = f.name
	}
	return names
}

func featureOf(name string) (feature, bool) {
	i := slices.IndexFunc(features, func(f feature) bool { return f.name == name })
	if i < 0 {
		return feature{}, false
	}
	return features[i], true
}

// evidenceFor is what t's rows but self say of each of the row's candidates.
func evidenceFor(t Task, row *Row, self int) []evidence {
	seen := make([]evidence, len(row.Candidates))
	index := make(map[string]int, len(seen))
	for j, c := range row.Candidates {
		index[c] = j
	}
	var whole float64
	n := 0
	for i := range t.Rows {
		o := &t.Rows[i]
		if i == self || !o.Labelled() {
			continue
		}
		c := float64(cosine(row.Direction, o.Direction))
		v := math.Exp(c / voteTau)
		whole += v
		n++
		j, ok := index[o.Candidates[o.Gold]]
		if !ok {
			continue
		}
		e := &seen[j]
		if e.count == 0 || c > e.max {
			e.max = c
		}
		e.count++
		e.mean += c
		e.vote += v
	}
	for j := range seen {
		seen[j].mean /= float64(max(1, seen[j].count))
		seen[j].whole = whole / float64(max(1, n))
	}
	return seen
}

// words of a text, in lower case.
func words(text string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		set[w] = true
	}
	return set
}

// overlap is the share of a candidate's words that are in the set.
func overlap(candidate string, in map[string]bool) float64 {
	own := words(candidate)
	n := 0
	for w := range own {
		if in[w] {
			n++
		}
	}
	return float64(n) / float64(max(1, len(own)))
}

func (s *sight) has(f feature) bool {
	for _, pass := range f.passes {
		if s.raw[pass] == nil {
			return false
		}
	}
	return true
}

// table is the features' values of a row: [candidate][feature], centred over
// the candidates and divided by scale.
func (s *sight) table(terms []Term) [][]float64 {
	x := make([][]float64, len(s.row.Candidates))
	for j := range x {
		x[j] = make([]float64, len(terms))
	}
	for k, term := range terms {
		f, _ := featureOf(term.Feature)
		if !s.has(f) {
			continue // a term that nothing hangs on
		}
		var sum float64
		for j := range x {
			x[j][k] = f.of(s, j)
			sum += x[j][k]
		}
		for j := range x {
			x[j][k] = (x[j][k] - sum/float64(len(x))) / term.Scale
		}
	}
	return x
}
