package calibrate

import (
	"cmp"
	"errors"
	"math"
	"slices"
)

// Curve turns a logit into a probability, never downwards: sigmoid(A x + B)
// (Platt, 1999), where X is there mixed with the line through the blocks of an
// isotonic regression (pool adjacent violators; Zadrozny and Elkan, 2002).
type Curve struct {
	A float64   `json:"a"` // above 0
	B float64   `json:"b"`
	X []float64 `json:"x,omitempty"` // mean logit of a block, ascending
	Y []float64 `json:"y,omitempty"` // share right within it, ascending
}

// plattShare is what the sigmoid counts beside the blocks, so that no two logits
// come out alike.
const plattShare = 0.02

// At is the probability at a logit, 0 to 1.
func (c *Curve) At(x float64) float64 {
	p := sigmoid(c.A*x + c.B)
	if len(c.X) == 0 {
		return p
	}
	return plattShare*p + (1-plattShare)*c.line(x)
}

func (c *Curve) line(x float64) float64 {
	i, _ := slices.BinarySearch(c.X, x)
	switch {
	case i == 0:
		return c.Y[0]
	case i == len(c.X):
		return c.Y[i-1]
	}
	f := (x - c.X[i-1]) / (c.X[i] - c.X[i-1])
	return c.Y[i-1] + f*(c.Y[i]-c.Y[i-1])
}

func (c *Curve) check() error {
	ok := c.A > 0 && finite(c.A) && finite(c.B) && len(c.X) == len(c.Y)
	for i := range c.X {
		ok = ok && finite(c.X[i]) && len(c.Y) > i && c.Y[i] >= 0 && c.Y[i] <= 1
		ok = ok && (i == 0 || c.X[i] > c.X[i-1] && c.Y[i] >= c.Y[i-1])
	}
	if !ok {
		return errors.New("its curve is none that rises from 0 to 1")
	}
	return nil
}

// platt fits sigmoid(a x + b) with a above 0, the answers held a little off 0
// and 1 as Platt does.
func platt(x, y []float64) Curve {
	n := float64(len(y))
	var right float64
	for _, v := range y {
		right += v
	}
	hi, lo := (right+1)/(right+2), 1/(n-right+2)
	a, b := 1.0, 0.0
	for range 50 {
		var ga, gb, haa, hab, hbb float64
		for i, v := range x {
			t := lo + y[i]*(hi-lo)
			p := sigmoid(a*v + b)
			q := max(1e-9, p*(1-p))
			ga += (t - p) * v
			gb += t - p
			haa += q * v * v
			hab += q * v
			hbb += q
		}
		haa += 1e-6
		hbb += 1e-6
		det := haa*hbb - hab*hab
		if det <= 0 {
			break
		}
		da, db := (ga*hbb-gb*hab)/det, (gb*haa-ga*hab)/det
		size := max(1, math.Abs(da), math.Abs(db)) // no step beyond 1
		a, b = a+da/size, b+db/size
		if math.Abs(da)+math.Abs(db) < 1e-9 {
			break
		}
	}
	if !(a > leastSlope) || !finite(b) { // the logits do not tell right from wrong: all alike
		p := (right + 1) / (n + 2)
		a, b = leastSlope, math.Log(p/(1-p))
	}
	return Curve{A: a, B: b}
}

const leastSlope = 1e-3

// isotonic adds to a Platt curve the blocks of an isotonic regression.
func isotonic(x, y []float64) Curve {
	c := platt(x, y)
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(x[i], x[j]) })
	type block struct{ x, y, n float64 }
	var blocks []block
	least := max(10, float64(len(x))/20) // rows of a block: fewer would say more of luck than of the curve
	join := func() {
		for len(blocks) > 1 {
			a, b := blocks[len(blocks)-2], blocks[len(blocks)-1]
			if a.n >= least && b.n >= least && a.y/a.n < b.y/b.n && a.x/a.n < b.x/b.n {
				return
			}
			blocks = append(blocks[:len(blocks)-2], block{a.x + b.x, a.y + b.y, a.n + b.n})
		}
	}
	var next block
	for k, i := range order {
		next.x, next.y, next.n = next.x+x[i], next.y+y[i], next.n+1
		tied := k+1 < len(order) && x[order[k+1]] == x[i]
		if next.n >= least && !tied || k+1 == len(order) {
			blocks = append(blocks, next)
			next = block{}
			join()
		}
	}
	for _, b := range blocks {
		c.X, c.Y = append(c.X, b.x/b.n), append(c.Y, (b.y+0.5)/(b.n+1))
	}
	for i := 1; i < len(c.Y); i++ { // the half row may have turned neighbours about
		c.Y[i] = max(c.Y[i], c.Y[i-1])
	}
	return c
}

// leastIsotonic is the rows from which an isotonic curve is tried.
const leastIsotonic = 500

// curveOf chooses between the two by the log loss of rows left out: the isotonic
// one has to be better by more than that difference's standard error.
func curveOf(x, y []float64, folds []int) Curve {
	if len(x) < leastIsotonic {
		return platt(x, y)
	}
	a, b := crossCurved(platt, x, y, folds), crossCurved(isotonic, x, y, folds)
	gain := make([]float64, len(y))
	for i := range gain {
		gain[i] = rowLoss(a[i], y[i]) - rowLoss(b[i], y[i])
	}
	if mean, deviation := meanDeviation(gain); mean > deviation/math.Sqrt(float64(len(gain))) {
		return isotonic(x, y)
	}
	return platt(x, y)
}

// crossCurved are probabilities of rows by a curve that was fitted without their
// fold.
func crossCurved(fit func(x, y []float64) Curve, x, y []float64, folds []int) []float64 {
	out := make([]float64, len(x))
	for f := range slices.Max(folds) + 1 {
		var xs, ys []float64
		for i := range x {
			if folds[i] != f {
				xs, ys = append(xs, x[i]), append(ys, y[i])
			}
		}
		c := fit(xs, ys)
		for i := range x {
			if folds[i] == f {
				out[i] = c.At(x[i])
			}
		}
	}
	return out
}
