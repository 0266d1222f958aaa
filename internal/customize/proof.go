package customize

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/strategy"
)

// Proof is what a customisation is worth on its own examples, each left out in
// turn, alone or with others: labels, choice of the strategy, its fit, and
// worked examples come from the rest alone.
type Proof struct {
	Strategy string             `json:"strategy,omitempty"` // what is proved; "" in older proofs: blend
	Rows     int                `json:"rows"`               // labelled examples that could be scored
	Folds    int                `json:"folds,omitempty"`    // parts that were left out; 0: one a row
	Accuracy map[string]float64 `json:"accuracy"`           // by strategy: what is proved, base, shared, shots
	Against  []Comparison       `json:"against"`
	Verdict  string             `json:"verdict"` // against base: better, not shown, worse
	Seconds  float64            `json:"seconds"`
}

// Comparison is the customisation against one rival on the same rows.
type Comparison struct {
	Rival   string  `json:"rival"`
	Wins    int     `json:"wins"`   // rows the customisation has right and the rival wrong
	Losses  int     `json:"losses"` // the other way round
	Ties    int     `json:"ties"`
	Low     float64 `json:"low"` // 95 % interval of the difference in accuracy
	High    float64 `json:"high"`
	P       float64 `json:"p"` // exact one-sided McNemar
	Verdict string  `json:"verdict"`
	Need    int     `json:"need,omitempty"` // labelled examples that would decide, at these rates
}

// The verdicts.
const (
	Better   = "better"
	NotShown = "not shown"
	Worse    = "worse"
)

// leastRows is the number of labelled examples below which there is no proof.
const leastRows = 4

// proofFolds is in how many parts examples are left out where each fit takes
// passes over the others.
const proofFolds = 8

// shots is the strategy of the rival "shots".
const shots = "shots5"

// fold is some rows left out and what the others make of them.
type fold struct {
	rows    []int // left out: labelled, with something to choose from
	rest    []int
	task    strategy.Task // of the rest
	queries []strategy.Row
}

// Prove scores what made the customisation against its rivals. All that it
// chooses and fits, it chooses and fits anew in each fold. progress may be nil.
func Prove(ctx context.Context, d *device.Device, c *Customisation, opt Options, progress func(done, total int)) (*Proof, error) {
	start := time.Now()
	d, err := c.On(d)
	if err != nil {
		return nil, err
	}
	if _, err := c.Members(d.Pool); err != nil {
		return nil, err
	}
	s, err := strategy.Get(c.provedBy())
	if err != nil {
		return nil, err
	}
	folds := c.folds(s.Cost == strategy.Instant)
	total := 0
	for _, f := range folds {
		total += len(f.rows)
	}
	if total < leastRows {
		return nil, &fault.Error{Op: "prove", Path: c.Name, Exit: fault.ExitUsage,
			Err: fmt.Errorf("%d labelled examples with something to choose from; a proof needs %d", total, leastRows), Hint: "add answers to the examples"}
	}
	rivals := c.rivals()
	// Folds share what does not hang on the rows left out.
	memo := strategy.NewMemo(opt.engine(d))
	right := map[string][]bool{}
	done := 0
	for _, f := range folds {
		for _, r := range rivals {
			got, err := f.score(ctx, memo, r.strategy)
			if err != nil {
				return nil, err
			}
			for i, q := range f.queries {
				right[r.name] = append(right[r.name], strategy.Best(got[i]) == q.Gold)
			}
		}
		done += len(f.rows)
		if progress != nil {
			progress(done, total)
		}
	}
	p := &Proof{Strategy: rivals[0].name, Rows: total, Accuracy: map[string]float64{}, Seconds: time.Since(start).Seconds()}
	if len(folds) < total {
		p.Folds = len(folds)
	}
	for name, r := range right {
		p.Accuracy[name] = share(r)
	}
	for _, r := range rivals[1:] {
		p.Against = append(p.Against, compare(r.name, right[p.Strategy], right[r.name]))
	}
	p.Verdict = p.Against[0].Verdict
	return p, nil
}

// provedBy is the strategy that a proof repeats.
func (c *Customisation) provedBy() string { return cmp.Or(c.Method.Strategy, "blend") }

// rival is a strategy as a proof calls it.
type rival struct{ name, strategy string }

// rivals are what a proof scores: the customisation's own strategy first, then
// base, what the blend adds to, worked examples, and the blend where another
// strategy took its place.
func (c *Customisation) rivals() []rival {
	own := rival{c.provedBy(), c.provedBy()}
	if own.name == "base" || own.name == "shared" {
		own.name = "your " + own.name
	}
	out := []rival{own, {"base", "base"}, {"shared", "shared"}, {"shots", shots}}
	if own.strategy != "blend" {
		out = append(out, rival{"blend", "blend"})
	}
	return out
}

// score is the fold's rows under a strategy that was fitted to the rest.
func (f *fold) score(ctx context.Context, e strategy.Engine, name string) ([][]float64, error) {
	plan, err := fit(ctx, e, f.task, Method{Strategy: name})
	if err != nil {
		return nil, err
	}
	return plan.Scores(ctx, e, f.task, f.queries)
}

// folds leaves out the labelled rows, one by one or in proofFolds parts by
// their places in the file. Nothing in a fold but the rows' own questions
// depends on the rows left out.
func (c *Customisation) folds(oneByOne bool) []fold {
	var labelled []int
	for i, e := range c.Examples {
		if e.Labelled {
			labelled = append(labelled, i)
		}
	}
	n := len(labelled)
	if !oneByOne {
		n = min(n, proofFolds)
	}
	var out []fold
	for k := range n {
		var f fold
		for i := k; i < len(labelled); i += n {
			f.rows = append(f.rows, labelled[i])
		}
		for i := range c.Examples {
			if !slices.Contains(f.rows, i) {
				f.rest = append(f.rest, i)
			}
		}
		if len(f.rest) == 0 {
			continue
		}
		labels := c.labelsOf(f.rest)
		f.task = c.taskOf(f.rest, labels)
		var scored []int
		for _, i := range f.rows {
			e := &c.Examples[i]
			q := strategy.Row{Question: e.Question, Context: e.Context, Direction: e.Direction, Candidates: c.candidates(i, f.rest, labels)}
			if len(q.Candidates) < 2 {
				continue
			}
			q.Gold = slices.Index(q.Candidates, e.Answer)
			scored, f.queries = append(scored, i), append(f.queries, q)
		}
		if f.rows = scored; len(f.rows) > 0 {
			out = append(out, f)
		}
	}
	return out
}

func share(right []bool) float64 {
	n := 0
	for _, r := range right {
		if r {
			n++
		}
	}
	return float64(n) / float64(max(1, len(right)))
}

// compare weighs two strategies on the same rows.
func compare(rival string, ours, theirs []bool) Comparison {
	c := Comparison{Rival: rival}
	for i := range ours {
		switch {
		case ours[i] && !theirs[i]:
			c.Wins++
		case !ours[i] && theirs[i]:
			c.Losses++
		default:
			c.Ties++
		}
	}
	n, decided := float64(len(ours)), c.Wins+c.Losses
	c.P = tail(c.Wins, decided)
	if decided == 0 {
		c.Verdict = NotShown
		return c
	}
	// Among rows that differ, wins are binomial; Clopper and Pearson (1934)
	// bound their share, and with it the difference in accuracy.
	lo, hi := clopperPearson(c.Wins, decided)
	c.Low, c.High = (2*lo-1)*float64(decided)/n, (2*hi-1)*float64(decided)/n
	switch {
	case c.P <= level && c.Wins > c.Losses:
		c.Verdict = Better
	case tail(c.Losses, decided) <= level && c.Losses > c.Wins:
		c.Verdict = Worse
	default:
		c.Verdict = NotShown
		c.Need = need(c.Wins, c.Losses, len(ours))
	}
	return c
}

// level of the one-sided tests.
const level = 0.05

// tail is the probability of at least k wins in n fair coin flips (exact
// one-sided McNemar, 1947).
func tail(k, n int) float64 {
	if n == 0 || k == 0 {
		return 1
	}
	return 1 - distuv.Binomial{N: float64(n), P: 0.5}.CDF(float64(k-1))
}

func clopperPearson(k, n int) (low, high float64) {
	low, high = 0, 1
	if n == 0 {
		return
	}
	if k > 0 {
		low = distuv.Beta{Alpha: float64(k), Beta: float64(n - k + 1)}.Quantile(0.025)
	}
	if k < n {
		high = distuv.Beta{Alpha: float64(k + 1), Beta: float64(n - k)}.Quantile(0.975)
	}
	return
}

// need is about how many rows would decide if wins and losses went on at the
// same rates, or 0 when they point nowhere.
func need(wins, losses, rows int) int {
	if wins == losses || rows == 0 {
		return 0
	}
	most, least := max(wins, losses), min(wins, losses)
	for n := rows + 1; n <= 100*rows; n++ {
		f := float64(n) / float64(rows)
		k := int(math.Round(f * float64(most)))
		if tail(k, k+int(math.Round(f*float64(least)))) <= level {
			return n
		}
	}
	return 0
}
