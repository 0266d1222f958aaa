package customize

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat/distuv"

	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/fault"
	"crayon/internal/pool"
	"crayon/internal/route"
	"crayon/internal/task"
)

// Proof is what a customisation is worth on its own examples, each left out in
// turn: its blend, labels and worked examples come from the others alone.
type Proof struct {
	Rows     int                `json:"rows"`     // labelled examples that could be scored
	Accuracy map[string]float64 `json:"accuracy"` // by strategy: blend, base, shared, shots
	Against  []Comparison       `json:"against"`
	Verdict  string             `json:"verdict"` // against base: better, not shown, worse
	Seconds  float64            `json:"seconds"`
}

// Comparison is the blend against one rival on the same rows.
type Comparison struct {
	Rival   string  `json:"rival"`
	Wins    int     `json:"wins"`   // rows the blend has right and the rival wrong
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

// shots is how many worked examples the rival "shots" puts in the prompt.
const shots = 5

// leastRows is the number of labelled examples below which there is no proof.
const leastRows = 4

// fold is one left-out row and what the others make of it.
type fold struct {
	row        int
	labels     []string // the label list in the prompt
	candidates []string // the answers to choose from
	gold       int      // index of the row's answer, -1 if the others never give it
	members    []float32
	shots      []int // the nearest other rows
}

// Prove scores the customisation's strategies by leave-one-out. progress may be nil.
func Prove(ctx context.Context, d *device.Device, c *Customisation, progress func(done, total int)) (*Proof, error) {
	start := time.Now()
	if _, err := c.Members(d.Pool); err != nil {
		return nil, err
	}
	folds := c.folds(d.Pool)
	if len(folds) < leastRows {
		return nil, &fault.Error{Op: "prove", Path: c.Name, Exit: fault.ExitUsage,
			Err: fmt.Errorf("%d labelled examples with something to choose from; a proof needs %d", len(folds), leastRows), Hint: "add answers to the examples"}
	}
	right := map[string][]bool{}
	for n, f := range folds {
		qs, err := c.questions(d, f)
		if err != nil {
			return nil, err
		}
		scores, err := d.Score(ctx, qs)
		if err != nil {
			return nil, err
		}
		for i, s := range strategies {
			right[s] = append(right[s], device.Best(scores[i]) == f.gold)
		}
		if progress != nil {
			progress(n+1, len(folds))
		}
	}
	p := &Proof{Rows: len(folds), Accuracy: map[string]float64{}, Seconds: time.Since(start).Seconds()}
	for _, s := range strategies {
		p.Accuracy[s] = share(right[s])
	}
	for _, s := range strategies[1:] {
		p.Against = append(p.Against, compare(s, right[strategies[0]], right[s]))
	}
	p.Verdict = p.Against[0].Verdict
	return p, nil
}

// The strategies a proof compares, the customisation's own first.
var strategies = []string{"blend", "base", "shared", "shots"}

// questions are one fold's row under each strategy.
func (c *Customisation) questions(d *device.Device, f fold) ([]device.Question, error) {
	e := c.Examples[f.row]
	text := task.Text(e.Question, e.Context, f.labels)
	plain, err := d.Form.Prompt(text)
	if err != nil {
		return nil, err
	}
	worked := make([]task.Shot, 0, len(f.shots))
	for _, i := range f.shots {
		o := c.Examples[i]
		worked = append(worked, task.Shot{Text: task.Text(o.Question, o.Context, f.labels), Answer: o.Answer})
	}
	shown, err := d.Form.Shots(worked, text)
	if err != nil {
		return nil, err
	}
	none := make([]float32, len(d.Pool.Blended()))
	return []device.Question{
		{Prompt: plain, Choices: f.candidates, Row: d.Row(f.members)},
		{Prompt: plain, Choices: f.candidates},
		{Prompt: plain, Choices: f.candidates, Row: d.Row(d.Pool.All(none, 1))},
		{Prompt: shown, Choices: f.candidates},
	}, nil
}

// folds leaves out each labelled row in turn. Nothing in a fold but the row's
// own question depends on the row left out.
func (c *Customisation) folds(p *pool.Pool) []fold {
	var out []fold
	for i, e := range c.Examples {
		if !e.Labelled {
			continue
		}
		f := fold{row: i, gold: -1}
		var rest []examples.Example
		var directions [][]float32
		for j, o := range c.Examples {
			if j == i {
				continue
			}
			directions = append(directions, o.Direction)
			rest = append(rest, examples.Example{Question: o.Question, Answer: o.Answer, Choices: o.Choices, Labelled: o.Labelled})
		}
		if len(directions) == 0 {
			continue
		}
		f.labels = c.labelsOf(rest)
		switch {
		case len(f.labels) > 0:
			f.candidates = f.labels
		case len(e.Choices) > 0:
			f.candidates = e.Choices
		default:
			// Free answers: the other rows' answers are the wrong choices, the
			// row's own is the right one.
			for _, o := range rest {
				if o.Labelled && !slices.Contains(f.candidates, o.Answer) && len(f.candidates) < maxFree {
					f.candidates = append(f.candidates, o.Answer)
				}
			}
			if !slices.Contains(f.candidates, e.Answer) {
				f.candidates = append(f.candidates, e.Answer)
			}
		}
		if len(f.candidates) < 2 {
			continue
		}
		f.gold = slices.Index(f.candidates, e.Answer)
		f.members = p.All(pool.KeepTop(blend(p, directions), c.Keep), c.Shared)
		f.shots = c.nearest(i)
		out = append(out, f)
	}
	return out
}

// labelsOf is the label list that a fold's rows make, nil if they make none.
// Whether inferred labels make it a label task must not hang on the row left
// out: it is one if some answer of that row would make it one.
func (c *Customisation) labelsOf(rest []examples.Example) []string {
	if len(c.Labels) > 0 && !c.Inferred {
		return c.Labels
	}
	var answers []string
	fresh := "?"
	for _, e := range rest {
		if e.Choices != nil {
			return nil
		}
		if e.Labelled {
			answers = append(answers, e.Answer)
			fresh += e.Answer
		}
	}
	if len(answers) == 0 {
		return nil
	}
	for _, answer := range []string{answers[0], fresh} {
		if examples.Labels(append(slices.Clip(rest), examples.Example{Answer: answer, Labelled: true})) != nil {
			slices.Sort(answers)
			return slices.Compact(answers)
		}
	}
	return nil
}

// maxFree bounds the choices of a row with a free answer.
const maxFree = 7

// nearest lists the labelled rows most like row i, the nearest last, where a
// prompt's end counts most.
func (c *Customisation) nearest(i int) []int {
	var others []int
	for j, o := range c.Examples {
		if j != i && o.Labelled {
			others = append(others, j)
		}
	}
	sim := func(j int) float32 { return route.Cosine(c.Examples[i].Direction, c.Examples[j].Direction) }
	slices.SortStableFunc(others, func(a, b int) int {
		if x, y := sim(a), sim(b); x != y {
			if x < y {
				return -1
			}
			return 1
		}
		return b - a
	})
	return others[max(0, len(others)-shots):]
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
