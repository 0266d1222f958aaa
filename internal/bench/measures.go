package bench

import (
	"context"
	"fmt"
	"unicode/utf8"

	"crayon/internal/strategy"
)

// measure is one way to make a candidate's score of its log-probability. The
// product's own is the mean over tokens.
type measure struct {
	name, about string
	of          func(s strategy.Score, candidate string) float64
}

// measures are those of lm-evaluation-harness: acc, acc_norm, and acc_norm by
// bytes.
var measures = []measure{
	{"sum", "by the sum of log-probabilities", func(s strategy.Score, _ string) float64 { return s.Sum }},
	{"chars", "by the sum over the candidate's characters", func(s strategy.Score, c string) float64 {
		return s.Sum / float64(max(1, utf8.RuneCountInString(c)))
	}},
	{"bytes", "by the sum over the candidate's bytes", func(s strategy.Score, c string) float64 {
		return s.Sum / float64(max(1, len(c)))
	}},
}

// measured are the strategies that are scored by all measures.
var measured = []struct{ name, about, needs string }{
	{base, "the base model", ""},
	{single, "the adapter single", single},
	{"blend", "the blend", ""},
}

// byMeasure are the rivals that differ from a strategy in the measure alone.
func byMeasure() []method {
	var out []method
	for _, s := range measured {
		for _, m := range measures {
			out = append(out, method{name: s.name + "_" + m.name, about: s.about + " " + m.about, needs: s.needs,
				run: func(ctx context.Context, r *runner, b *bout) (result, error) { return r.measured(ctx, b, s.name, m) }})
		}
	}
	return out
}

// measured scores with a strategy's plan by another measure. The passes are the
// strategy's own.
func (r *runner) measured(ctx context.Context, b *bout, name string, m measure) (result, error) {
	plan := &strategy.Plan{Strategy: name, Private: r.engine.Pool().Baseline[name]}
	var fit *cost
	if name != single {
		s, err := strategy.Get(name)
		if err != nil {
			return result{}, err
		}
		c, err := r.memo.charged(func() (err error) {
			plan, err = s.Fit(ctx, r.shared, b.task)
			return err
		})
		if err != nil {
			return result{}, err
		}
		fit = &c
	}
	scores, err := r.logProbabilities(ctx, plan, b)
	if err != nil {
		return result{}, err
	}
	out := make([][]float64, len(scores))
	for i, of := range scores {
		out[i] = make([]float64, len(of))
		for j, s := range of {
			out[i][j] = m.of(s, b.rows[i].Candidates[j])
		}
	}
	return result{scores: out, fit: fit}, nil
}

// logProbabilities are what the model gives every candidate under a plain plan.
func (r *runner) logProbabilities(ctx context.Context, plan *strategy.Plan, b *bout) ([][]strategy.Score, error) {
	asks := make([]strategy.Ask, len(b.rows))
	for i := range b.rows {
		asks[i] = plan.Ask(r.engine.Pool(), b.task, b.rows[i])
	}
	return r.shared.Score(ctx, asks)
}

// Lengths are every candidate's, by row and choice.
type Lengths struct {
	Tokens     [][]int `json:"tokens"` // the end token included
	Characters [][]int `json:"characters"`
	Bytes      [][]int `json:"bytes"`
}

// log keeps the sums of a strategy whose plan is weights alone, and the lengths
// that other measures divide them by.
func (r *runner) log(ctx context.Context, name string, res result, b *bout, sheet *Sheet) error {
	if !r.opt.Scores || res.plan == nil || !res.plan.Plain() {
		return nil
	}
	of := *b
	of.task = res.task
	scores, err := r.logProbabilities(ctx, res.plan, &of)
	if err != nil {
		return err
	}
	sums := make([][]float64, len(scores))
	for i := range scores {
		sums[i] = make([]float64, len(scores[i]))
		for j, s := range scores[i] {
			sums[i][j] = s.Sum
		}
	}
	if sheet.Sums == nil {
		sheet.Sums, sheet.Lengths = map[string][][]float64{}, lengthsOf(scores, b.rows)
	}
	sheet.Sums[name] = shortened(sums)
	return nil
}

func lengthsOf(scores [][]strategy.Score, rows []strategy.Row) *Lengths {
	var l Lengths
	for i := range rows {
		var tokens, characters, bytes []int
		for j, c := range rows[i].Candidates {
			tokens = append(tokens, scores[i][j].Tokens)
			characters = append(characters, utf8.RuneCountInString(c))
			bytes = append(bytes, len(c))
		}
		l.Tokens, l.Characters, l.Bytes = append(l.Tokens, tokens), append(l.Characters, characters), append(l.Bytes, bytes)
	}
	return &l
}

// measuresGrid is accuracy by measure, with standard errors; empty where no
// other measure was run.
func (r *Report) measuresGrid() grid {
	g := grid{title: "macro accuracy ± standard error, by measure as lm-evaluation-harness has them, and by ours",
		cells: [][]string{{"strategy", "acc (sum)", "acc_norm (characters)", "acc_norm (bytes)", "ours (mean a token)"}}}
	for _, c := range r.columns(coreGroups...) {
		for _, s := range measured {
			row := []string{s.name + ", " + c.name}
			some := false
			for _, m := range measures {
				f := c.Macro[s.name+"_"+m.name]
				some = some || f != nil
				row = append(row, plusMinus(f))
			}
			if some {
				g.cells = append(g.cells, append(row, plusMinus(c.Macro[s.name])))
			}
		}
	}
	return g
}

// plusMinus is a figure with its standard error; "" for none.
func plusMinus(f *Figure) string {
	if f == nil {
		return ""
	}
	return fmt.Sprintf("%.3f ± %.3f", f.Accuracy, f.StdErr)
}
