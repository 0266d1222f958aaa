package calibrate

import (
	"cmp"
	"errors"
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"crayon/internal/route/signal"
)

// Logistic is a logistic regression on signals, each brought to mean 0 and
// deviation 1, with a bend at quantiles and an own weight where one is missing,
// and with levels that rows of one user or cluster share.
type Logistic struct {
	Intercept float64            `json:"intercept"`
	Terms     []Term             `json:"terms"`
	Users     map[string]float64 `json:"users,omitempty"`    // level a user; another's is 0
	Clusters  map[string]float64 `json:"clusters,omitempty"` // level a cluster
	Prior     *Logistic          `json:"prior,omitempty"`    // what this one corrects: its logit is added
}

// Term is what one signal adds to the logit.
type Term struct {
	Signal    string    `json:"signal"`
	Mean      float64   `json:"mean"`
	Deviation float64   `json:"deviation"` // above 0
	Weight    float64   `json:"weight"`    // of (x - Mean) / Deviation, held to ±bound
	Knots     []float64 `json:"knots,omitempty"`
	Bends     []float64 `json:"bends,omitempty"`   // weight of how far it is above each knot
	Missing   float64   `json:"missing,omitempty"` // in place of all that where the signal was not measured
}

// bound holds standardised signals, so that no outlier decides alone.
const bound = 4

func (t *Term) standard(x float64) float64 {
	return max(-bound, min(bound, (x-t.Mean)/t.Deviation))
}

// of is what the term adds for a value.
func (t *Term) of(x float64) float64 {
	if math.IsNaN(x) {
		return t.Missing
	}
	z := t.standard(x)
	sum := t.Weight * z
	for i, k := range t.Knots {
		sum += t.Bends[i] * max(0, z-k)
	}
	return sum
}

// Logit of a row; its Device and Server are not read.
func (l *Logistic) Logit(r Row) float64 {
	if l == nil {
		return 0
	}
	sum := l.Intercept + l.Users[r.User] + l.Clusters[r.Cluster] + l.Prior.Logit(r)
	for i := range l.Terms {
		sum += l.Terms[i].of(r.Signals.Get(l.Terms[i].Signal))
	}
	return sum
}

// Part is what one signal adds to the logit of one query.
type Part struct {
	Signal string      `json:"signal"`
	Kind   signal.Kind `json:"kind"`
	Logit  float64     `json:"logit"`
}

// Parts are what each signal adds, in the order of signals; beside them the
// logit has what all queries, the user's and the cluster's share.
func (l *Logistic) Parts(r Row) (parts []Part, common float64) {
	sums := make([]float64, signal.Count())
	used := make([]bool, signal.Count())
	for ; l != nil; l = l.Prior {
		common += l.Intercept + l.Users[r.User] + l.Clusters[r.Cluster]
		for i := range l.Terms {
			if at := signal.Place(l.Terms[i].Signal); at >= 0 {
				sums[at] += l.Terms[i].of(r.Signals.Get(l.Terms[i].Signal))
				used[at] = true
			}
		}
	}
	for i, s := range signal.All() {
		if used[i] {
			parts = append(parts, Part{s.Name, s.Kind, sums[i]})
		}
	}
	return parts, common
}

// check says what no fit makes.
func (l *Logistic) check(depth int) error {
	if depth > 3 {
		return errors.New("priors of priors")
	}
	ok := finite(l.Intercept)
	for _, t := range l.Terms {
		ok = ok && t.Deviation > 0 && finite(t.Mean) && finite(t.Deviation) && finite(t.Weight) && finite(t.Missing) && len(t.Knots) == len(t.Bends)
		for i := range t.Knots {
			ok = ok && finite(t.Knots[i]) && len(t.Bends) > i && finite(t.Bends[i])
		}
	}
	for _, m := range []map[string]float64{l.Users, l.Clusters} {
		for _, x := range m {
			ok = ok && finite(x)
		}
	}
	if !ok {
		return errors.New("a weight is no number, or a deviation is not above 0")
	}
	if l.Prior != nil {
		return l.Prior.check(depth + 1)
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// design is rows as columns of numbers.
type design struct {
	terms  []Term
	cols   [][]float64 // penalised columns: of each term its own, its bends, its missing
	anchor int         // the column that is not held to 0 as the others are; -1: none
	levels [2]level    // users, clusters
	offset []float64   // the prior's logit
	y      []float64
}

// level is which of names each row has; -1: none.
type level struct {
	of    []int
	names []string
}

// mostLevels bounds the names of one kind that have a level of their own: those
// with the most rows.
const mostLevels = 1000

// knotsAt are the quantiles at which a signal's effect may bend.
var knotsAt = []float64{0.25, 0.5, 0.75}

// newDesign takes the signals that vary over the rows.
func newDesign(rows []Row, y []float64, names []string, bends bool, prior *Logistic) *design {
	d := &design{y: y, offset: make([]float64, len(rows)), anchor: -1}
	for i := range rows {
		d.offset[i] = prior.Logit(rows[i])
	}
	anchor := anchorOf(rows, names, prior)
	for _, name := range names {
		if name == anchor {
			d.anchor = len(d.cols)
		}
		d.add(rows, name, bends)
	}
	d.levels[0] = levelOf(rows, func(r *Row) string { return r.User })
	d.levels[1] = levelOf(rows, func(r *Row) string { return r.Cluster })
	return d
}

// anchors are the signals that tell most by themselves, the first that is there:
// where rows of other users bear nothing else out, the model is a curve over it
// alone.
var anchors = []string{"choice_top", "mean_token"}

func anchorOf(rows []Row, names []string, prior *Logistic) string {
	if prior != nil {
		return "" // the prior is what is held to
	}
	for _, a := range anchors {
		n := 0
		for i := range rows {
			if !math.IsNaN(rows[i].Signals.Get(a)) {
				n++
			}
		}
		if 2*n > len(rows) && slices.Contains(names, a) {
			return a
		}
	}
	return ""
}

func (d *design) add(rows []Row, name string, bends bool) {
	xs := make([]float64, len(rows))
	var there []float64
	for i := range rows {
		xs[i] = rows[i].Signals.Get(name)
		if !math.IsNaN(xs[i]) {
			there = append(there, xs[i])
		}
	}
	if len(there) < 5 {
		return
	}
	t := Term{Signal: name}
	t.Mean, t.Deviation = meanDeviation(there)
	if t.Deviation < 1e-9 {
		if len(there) == len(rows) {
			return
		}
		t.Deviation = 1 // only whether it is missing tells anything
	}
	z := make([]float64, len(rows))
	for i, x := range xs {
		if !math.IsNaN(x) {
			z[i] = t.standard(x)
		}
	}
	d.cols = append(d.cols, z)
	if bends {
		for i, x := range there {
			there[i] = t.standard(x)
		}
		slices.Sort(there)
		for _, q := range knotsAt {
			k := there[int(q*float64(len(there)-1))]
			if k >= there[len(there)-1]-1e-9 || len(t.Knots) > 0 && k <= t.Knots[len(t.Knots)-1]+1e-9 || k <= there[0]+1e-9 {
				continue // nothing lies between
			}
			t.Knots = append(t.Knots, k)
			col := make([]float64, len(rows))
			for i, x := range xs {
				if !math.IsNaN(x) {
					col[i] = max(0, z[i]-k)
				}
			}
			d.cols = append(d.cols, col)
		}
		t.Bends = make([]float64, len(t.Knots))
	}
	if len(there) < len(rows) {
		col := make([]float64, len(rows))
		for i, x := range xs {
			if math.IsNaN(x) {
				col[i] = 1
			}
		}
		d.cols = append(d.cols, col)
		t.Missing = 1 // marks the column; the fit sets it
	}
	d.terms = append(d.terms, t)
}

func meanDeviation(xs []float64) (mean, deviation float64) {
	for _, x := range xs {
		mean += x
	}
	mean /= float64(len(xs))
	for _, x := range xs {
		deviation += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(deviation / float64(len(xs)))
}

func levelOf(rows []Row, name func(*Row) string) level {
	count := map[string]int{}
	for i := range rows {
		if n := name(&rows[i]); n != "" {
			count[n]++
		}
	}
	l := level{of: make([]int, len(rows))}
	for n := range count {
		l.names = append(l.names, n)
	}
	slices.SortFunc(l.names, func(a, b string) int { return cmp.Or(count[b]-count[a], cmp.Compare(a, b)) })
	if len(l.names) < 2 { // one name is the intercept
		l.names = nil
	}
	l.names = l.names[:min(len(l.names), mostLevels)]
	at := map[string]int{}
	for i, n := range l.names {
		at[n] = i
	}
	for i := range rows {
		k, ok := at[name(&rows[i])]
		if !ok {
			k = -1
		}
		l.of[i] = k
	}
	return l
}

// weights are the numbers of a fit: the intercept, one a column, one a name of
// each level.
type weights []float64

func (d *design) size() int {
	return 1 + len(d.cols) + len(d.levels[0].names) + len(d.levels[1].names)
}

// starts are where the levels begin within weights.
func (d *design) starts() [2]int {
	s := 1 + len(d.cols)
	return [2]int{s, s + len(d.levels[0].names)}
}

func (d *design) logits(w weights, out []float64) {
	starts := d.starts()
	for i := range out {
		out[i] = d.offset[i] + w[0]
	}
	for j, col := range d.cols {
		floats.AddScaled(out, w[1+j], col)
	}
	for k, l := range d.levels {
		if len(l.names) == 0 {
			continue
		}
		for i, at := range l.of {
			if at >= 0 {
				out[i] += w[starts[k]+at]
			}
		}
	}
}

// penalty is how strongly weights are held to 0: columns by Columns, levels by
// one over their variance.
type penalty struct {
	columns float64
	levels  [2]float64
}

// anchorPenalty is the ridge of the anchor.
const anchorPenalty = 1

func (d *design) penalties(p penalty) []float64 {
	out := make([]float64, d.size())
	starts := d.starts()
	out[0] = 1e-6
	for j := range d.cols {
		out[1+j] = p.columns
	}
	if d.anchor >= 0 && d.anchor < len(d.cols) {
		out[1+d.anchor] = min(p.columns, anchorPenalty)
	}
	for k, l := range d.levels {
		for i := range l.names {
			out[starts[k]+i] = p.levels[k]
		}
	}
	return out
}

// curved is the curvature of the likelihood as it was at some weights. Over a
// path of penalties it hardly changes, and to compute it is most of the work.
type curved struct{ h *mat.SymDense }

// Newton's method ends where what is left to win is this share of the loss, by
// half the squared decrement; a curvature is too old where a step takes less than
// half of what was left.
const (
	converged  = 1e-9
	mostSteps  = 200
	leastTaken = 0.5
)

// fit is the penalised maximum likelihood by Newton's method over the rows with
// in[i] (nil: all), from w, with c's curvature as long as it does.
func (d *design) fit(p penalty, in []bool, w weights, c *curved) weights {
	n, size := len(d.y), d.size()
	pen := d.penalties(p)
	eta, t := make([]float64, n), make([]float64, n)
	loss := func(w weights) float64 {
		d.logits(w, eta)
		var sum float64
		for i, e := range eta {
			if in == nil || in[i] {
				sum += softplus(e) - d.y[i]*e
			}
		}
		for j, x := range w {
			sum += pen[j] * x * x / 2
		}
		return sum
	}
	now := loss(w)
	grad := mat.NewVecDense(size, nil)
	var chol mat.Cholesky
	old, left := c.h != nil, math.Inf(1)
	if !old {
		d.bend(c, w, in)
	}
	if !factorize(&chol, c.h, pen) {
		return w
	}
	for range mostSteps {
		for i, e := range eta {
			t[i] = 0
			if in == nil || in[i] {
				t[i] = d.y[i] - sigmoid(e)
			}
		}
		d.gradient(grad, t)
		for j := range size {
			grad.SetVec(j, grad.AtVec(j)-pen[j]*w[j])
		}
		var step mat.VecDense
		if chol.SolveVecTo(&step, grad) != nil {
			return w
		}
		gap := mat.Dot(grad, &step) / 2
		if gap < converged*(1+now) {
			return w
		}
		next, after := make(weights, size), math.Inf(1)
		if gap < leastTaken*left || !old {
			for shrink, k := 1.0, 0; k < 12; shrink, k = shrink/2, k+1 {
				for j := range next {
					next[j] = w[j] + shrink*step.AtVec(j)
				}
				if after = loss(next); after <= now {
					break
				}
			}
		}
		switch {
		case after <= now:
			w, now, left, old = next, after, gap, true
		case old: // too old to be of use
			now = loss(w)
			d.bend(c, w, in)
			if old = false; !factorize(&chol, c.h, pen) {
				return w
			}
		default:
			return w
		}
	}
	return w
}

// bend makes c the curvature at w.
func (d *design) bend(c *curved, w weights, in []bool) {
	v := make([]float64, len(d.y))
	d.logits(w, v)
	for i, e := range v {
		q := sigmoid(e)
		if v[i] = max(1e-9, q*(1-q)); in != nil && !in[i] {
			v[i] = 0
		}
	}
	c.h = mat.NewSymDense(d.size(), nil)
	d.curvature(c.h, v)
}

// factorize decomposes the curvature with the penalties.
func factorize(chol *mat.Cholesky, h *mat.SymDense, pen []float64) bool {
	held := mat.NewSymDense(len(pen), nil)
	held.CopySym(h)
	for j, x := range pen {
		held.SetSym(j, j, held.At(j, j)+x+1e-9)
	}
	return chol.Factorize(held)
}

// spread is the diagonal of the inverse of the curvature at w, zeros where there
// is none.
func (d *design) spread(p penalty, w weights) []float64 {
	var c curved
	d.bend(&c, w, nil)
	var chol mat.Cholesky
	var inverse mat.SymDense
	out := make([]float64, d.size())
	if factorize(&chol, c.h, d.penalties(p)) && chol.InverseTo(&inverse) == nil {
		for j := range out {
			out[j] = inverse.At(j, j)
		}
	}
	return out
}

// gradient is that of the likelihood, from the residuals t.
func (d *design) gradient(grad *mat.VecDense, t []float64) {
	grad.Zero()
	grad.SetVec(0, floats.Sum(t))
	for j, col := range d.cols {
		grad.SetVec(1+j, floats.Dot(col, t))
	}
	starts := d.starts()
	for k, l := range d.levels {
		if len(l.names) == 0 {
			continue
		}
		for i, at := range l.of {
			if at >= 0 {
				grad.SetVec(starts[k]+at, grad.AtVec(starts[k]+at)+t[i])
			}
		}
	}
}

// curvature fills the curvature of the likelihood from the variances v.
func (d *design) curvature(h *mat.SymDense, v []float64) {
	h.SetSym(0, 0, floats.Sum(v))
	starts := d.starts()
	vc := make([]float64, len(v))
	add := func(i, j int, x float64) { h.SetSym(i, j, h.At(i, j)+x) }
	for j, col := range d.cols {
		floats.MulTo(vc, col, v)
		h.SetSym(0, 1+j, floats.Sum(vc))
		for k := j; k < len(d.cols); k++ {
			h.SetSym(1+j, 1+k, floats.Dot(vc, d.cols[k]))
		}
		for k, l := range d.levels {
			if len(l.names) == 0 {
				continue
			}
			sums := make([]float64, len(l.names))
			for i, at := range l.of {
				if at >= 0 {
					sums[at] += vc[i]
				}
			}
			for at, x := range sums {
				h.SetSym(1+j, starts[k]+at, x)
			}
		}
	}
	for k, l := range d.levels {
		if len(l.names) == 0 {
			continue
		}
		for i, at := range l.of {
			if at < 0 {
				continue
			}
			j := starts[k] + at
			add(0, j, v[i])
			add(j, j, v[i])
			if other := d.levels[1].of[i]; k == 0 && other >= 0 && len(d.levels[1].names) > 0 {
				add(j, starts[1]+other, v[i])
			}
		}
	}
}

// variances of the levels by expectation and maximisation (empirical Bayes):
// what names' levels vary by, given what the rows say of each.
func (d *design) variances(columns float64) penalty {
	p := penalty{columns: columns, levels: [2]float64{4, 4}}
	starts := d.starts()
	w := make(weights, d.size())
	var c curved
	for range 6 {
		w = d.fit(p, nil, w, &c)
		diagonal := d.spread(p, w)
		for k, l := range d.levels {
			if len(l.names) == 0 {
				continue
			}
			var sum float64
			for i := range l.names {
				sum += w[starts[k]+i]*w[starts[k]+i] + diagonal[starts[k]+i]
			}
			variance := sum / float64(len(l.names))
			p.levels[k] = 1 / max(1e-4, min(9, variance))
		}
	}
	return p
}

// logistic names the numbers of a fit.
func (d *design) logistic(w weights, prior *Logistic) *Logistic {
	l := &Logistic{Intercept: w[0], Prior: prior}
	j := 1
	for _, t := range d.terms {
		t.Weight = w[j]
		j++
		t.Bends = make([]float64, len(t.Knots))
		for i := range t.Knots {
			t.Bends[i] = w[j]
			j++
		}
		if t.Missing != 0 {
			t.Missing = w[j]
			j++
		}
		l.Terms = append(l.Terms, t)
	}
	starts := d.starts()
	for k, to := range []*map[string]float64{&l.Users, &l.Clusters} {
		if len(d.levels[k].names) == 0 {
			continue
		}
		*to = map[string]float64{}
		for i, name := range d.levels[k].names {
			(*to)[name] = w[starts[k]+i]
		}
	}
	return l
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

func softplus(x float64) float64 { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }
