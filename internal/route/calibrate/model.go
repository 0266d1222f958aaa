package calibrate

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"

	"crayon/internal/fault"
	"crayon/internal/route/signal"
)

// Model is the probability that one side is right, given a query's signals.
type Model struct {
	Logistic *Logistic `json:"logistic"`
	Curve    Curve     `json:"curve"`
	Penalty  float64   `json:"penalty"` // of the ridge, chosen by cross-fitting
	Bends    bool      `json:"bends"`
	Rows     int       `json:"rows"`
	Right    float64   `json:"right"` // share of the rows
	Fit      Fit       `json:"cross_fitted"`
}

// Fit is how well rows were told by a model that had not seen their group.
type Fit struct {
	AUROC      float64 `json:"auroc"`
	LogLoss    float64 `json:"log_loss"`
	Brier      float64 `json:"brier"`
	BrierSkill float64 `json:"brier_skill"` // over the share right of each user
	ECE        float64 `json:"ece"`         // in 15 bins of equal mass
}

// Options of FitModel. The zero value takes every signal that needs no draft of
// its own.
type Options struct {
	Signals []string // names; nil: as said
	Early   bool     // only what is known before the draft
	Prior   *Model   // of other users: this one corrects it, as far as the rows bear that out
	Folds   int      // of cross-fitting; 0: 5
	Seed    uint64   // of the folds
}

func (o Options) names() []string {
	if o.Signals != nil {
		return o.Signals
	}
	var out []string
	for _, s := range signal.All() {
		if s.Drafts == 0 && (s.Early || !o.Early) {
			out = append(out, s.Name)
		}
	}
	return out
}

// Fitted is a model with what it says of its own rows when their group is left
// out.
type Fitted struct {
	*Model
	Out []float64 // probability a row given to FitModel; NaN where its outcome is not known
}

// The causes of what cannot be learned from.
var (
	ErrOneClass   = errors.New("all outcomes are the same, so nothing tells right from wrong")
	ErrTooFewRows = errors.New("too few rows")
)

// leastEach is how many right and how many wrong rows a model takes at least.
const leastEach = 8

// penalties are tried in cross-fitting.
var penalties = []float64{0.3, 1, 3, 10, 30, 100, 300, 1000, 10000}

// FitModel learns from the outcomes that of gives; rows without one (NaN) are
// left out. The ridge and whether effects bend are chosen by cross-fitting over
// groups, the curve is fitted on its predictions, and the users' and clusters'
// levels are shrunk by how much they vary. It is deterministic.
func FitModel(rows []Row, of func(Row) float64, o Options) (*Fitted, error) {
	var used []Row
	var y []float64
	var at []int
	var right float64
	for i, r := range rows {
		if v := of(r); !math.IsNaN(v) {
			used, y, at = append(used, r), append(y, v), append(at, i)
			right += v
		}
	}
	if err := enough(len(y), right); err != nil {
		return nil, &fault.Error{Op: "fit routing", Err: err, Hint: "add rows of both kinds", Exit: fault.ExitUsage}
	}
	o.Folds = cmp.Or(o.Folds, defaultFolds)
	folds := foldsOf(used, o.Folds, o.Seed)
	var prior *Logistic
	if o.Prior != nil {
		prior = &Logistic{Terms: []Term{}, Prior: o.Prior.Logistic}
	}
	best, bends := choice{loss: math.Inf(1)}, false
	var d *design
	for _, bend := range []bool{false, true} {
		if bend && len(used) < leastBends {
			continue
		}
		trial := newDesign(used, y, o.names(), bend, prior)
		c := trial.choose(folds)
		if c.loss < best.loss {
			best, bends, d = c, bend, trial
		}
	}
	w := d.fit(best.penalty, nil, make(weights, d.size()), &curved{})
	m := &Model{Logistic: d.logistic(w, prior), Penalty: best.penalty.columns, Bends: bends, Rows: len(y), Right: right / float64(len(y))}
	m.Curve = curveOf(best.out, y, folds)
	fit := platt
	if m.Curve.X != nil {
		fit = isotonic
	}
	probs := crossCurved(fit, best.out, y, folds)
	m.Fit = Judge(probs, y, users(used), folds)
	f := &Fitted{Model: m, Out: make([]float64, len(rows))}
	for i := range f.Out {
		f.Out[i] = math.NaN()
	}
	for k, i := range at {
		f.Out[i] = probs[k]
	}
	return f, nil
}

// leastBends is the rows from which effects may bend.
const leastBends = 400

func enough(n int, right float64) error {
	switch {
	case n > 0 && (right == 0 || right == float64(n)):
		return fmt.Errorf("%w (%d rows)", ErrOneClass, n)
	case n < 4*leastEach || right < leastEach || float64(n)-right < leastEach:
		return fmt.Errorf("%w: %d, %.0f of them right; %d with at least %d right and %d wrong are needed", ErrTooFewRows, n, right, 4*leastEach, leastEach, leastEach)
	}
	return nil
}

func users(rows []Row) []string {
	out := make([]string, len(rows))
	for i := range rows {
		out[i] = rows[i].User
	}
	return out
}

// Folds are those that FitModel leaves out in turn where Options do not say how
// many, one a row, of rows that all have an outcome.
func Folds(rows []Row, seed uint64) []int { return foldsOf(rows, defaultFolds, seed) }

const defaultFolds = 5

// foldsOf gives each row a fold: groups stay together, the folds are about as
// large as each other. With fewer groups than folds every row stands alone.
func foldsOf(rows []Row, folds int, seed uint64) []int {
	names := map[string]int{}
	for i := range rows {
		names[rows[i].Group]++
	}
	key := func(i int) string { return rows[i].Group }
	if len(names) < folds {
		clear(names)
		key = func(i int) string { return "row " + strconv.Itoa(i) }
		for i := range rows {
			names[key(i)]++
		}
	} else if names[""] > 0 {
		key = func(i int) string {
			if rows[i].Group == "" {
				return "row " + strconv.Itoa(i)
			}
			return rows[i].Group
		}
		clear(names)
		for i := range rows {
			names[key(i)]++
		}
	}
	order := make([]string, 0, len(names))
	for n := range names {
		order = append(order, n)
	}
	slices.SortFunc(order, func(a, b string) int {
		return cmp.Or(names[b]-names[a], cmp.Compare(hash(a, seed), hash(b, seed)), cmp.Compare(a, b))
	})
	size := make([]int, folds)
	of := make(map[string]int, len(names))
	for _, n := range order {
		f := 0
		for k := range size {
			if size[k] < size[f] {
				f = k
			}
		}
		of[n] = f
		size[f] += names[n]
	}
	out := make([]int, len(rows))
	for i := range rows {
		out[i] = of[key(i)]
	}
	return out
}

func hash(s string, seed uint64) uint64 {
	h := fnv.New64a()
	h.Write(strconv.AppendUint(nil, seed, 10))
	h.Write([]byte{0})
	h.Write([]byte(s))
	return h.Sum64()
}

// choice is the penalty that told rows left out best, with their logits.
type choice struct {
	penalty penalty
	loss    float64
	out     []float64
}

// choose tries the penalties, each fold from the fit of the one before.
func (d *design) choose(folds []int) choice {
	p := d.variances(10)
	best := choice{loss: math.Inf(1)}
	n := slices.Max(folds) + 1
	warm, curves := make([]weights, n), make([]curved, n)
	in := make([]bool, len(d.y))
	for i := len(penalties) - 1; i >= 0; i-- {
		p.columns = penalties[i]
		out, eta := make([]float64, len(d.y)), make([]float64, len(d.y))
		for f := range n {
			for k := range in {
				in[k] = folds[k] != f
			}
			if warm[f] == nil {
				warm[f] = make(weights, d.size())
			}
			warm[f] = d.fit(p, in, warm[f], &curves[f])
			d.logits(warm[f], eta)
			for k := range out {
				if folds[k] == f {
					out[k] = eta[k]
				}
			}
		}
		var loss float64
		for k, e := range out {
			loss += softplus(e) - d.y[k]*e
		}
		if loss < best.loss {
			best = choice{p, loss, out}
		}
	}
	return best
}

// Crossed are rows' probabilities by models that had not seen their group.
type Crossed struct {
	Device, Server, Gain []float64 // one a row; NaN where its outcome is not known
	DeviceFit, ServerFit Fit
}

// CrossFit is what a benchmark ranks rows by: FitModel for both sides, each row
// judged without its group. Rows need both outcomes.
func CrossFit(rows []Row, o Options) (*Crossed, error) {
	d, err := FitModel(rows, device, o)
	if err != nil {
		return nil, err
	}
	o.Prior = nil // it is the device's
	s, err := FitModel(rows, server, o)
	if err != nil {
		return nil, err
	}
	c := &Crossed{Device: d.Out, Server: s.Out, Gain: make([]float64, len(rows)), DeviceFit: d.Fit, ServerFit: s.Fit}
	for i := range c.Gain {
		c.Gain[i] = c.Server[i] - c.Device[i]
	}
	return c, nil
}

// P is the probability that the side is right, 0 to 1.
func (m *Model) P(r Row) float64 { return m.Curve.At(m.Logistic.Logit(r)) }

// Check says what no fit makes.
func (m *Model) Check() error {
	if m.Logistic == nil {
		return errors.New("a model without weights")
	}
	if err := m.Logistic.check(0); err != nil {
		return err
	}
	return m.Curve.check()
}
