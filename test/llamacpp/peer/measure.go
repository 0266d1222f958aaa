package peer

import (
	"context"
	"fmt"
	"math"
	"slices"
)

const (
	minRepeats = 5
	maxSpread  = 0.10 // of the ratios: interquartile range over median
	retries    = 5
)

// worker does a work once: a process, or a test's fake.
type worker interface {
	do(w Work) (result, error)
}

// entrant is a worker with its way of doing the row's work.
type entrant struct {
	worker
	work Work
}

// field is who takes part in a row: Crayon, and what it is held against, in the
// order of the row's contenders.
type field struct {
	mine   entrant
	others []entrant
	loop   func() float64 // what the row's ceiling reaches now, in operations or bytes a second; nil for none
	cost   float64        // operations or bytes of that kind that a unit of work takes
}

// Measurement is what a row came to.
type Measurement struct {
	Name       string    `json:"name"`
	Ratio      float64   `json:"ratio"`  // median over repeats of Crayon's speed over the contender's
	Spread     float64   `json:"spread"` // interquartile range of the ratios over their median
	Ratios     []float64 `json:"ratios"` // one a repeat
	Attempts   int       `json:"attempts"`
	Steady     bool      `json:"steady"` // Spread was small enough in the end
	Cost       bool      `json:"cost,omitempty"`
	Unit       string    `json:"unit"`                 // of the speeds
	CrayonTPS  float64   `json:"crayon_tps"`           // median speed
	PeerTPS    float64   `json:"peer_tps"`             // of the contender that was fastest most often
	Contender  Contender `json:"contender"`            // which that was
	Model      string    `json:"model,omitempty"`      // alias
	Loop       float64   `json:"loop,omitempty"`       // median over repeats of what the row's ceiling reached: operations/s or bytes/s
	Share      float64   `json:"share,omitempty"`      // median over repeats of Crayon's part of it
	Ceiling    Ceiling   `json:"ceiling,omitempty"`    // which that is
	Difference float64   `json:"difference,omitempty"` // of Score: largest, in mean log-probability a token, between the sides
}

// Figure is the row's number on the last line: the ratio, or for a cost the
// share of speed lost.
func (m Measurement) Figure() float64 {
	if m.Cost {
		return 1 - m.Ratio
	}
	return m.Ratio
}

// measure times a row: all sides once unrecorded, then sets of repeats until
// the ratios of one agree. note hears of each set that is not the last.
func measure(ctx context.Context, row Row, repeats int, f field, note func(m Measurement)) (Measurement, error) {
	m := Measurement{Name: row.Name, Cost: row.Cost, Unit: row.Work.unit(), Model: row.Model}
	if repeats < minRepeats || len(f.others) == 0 || len(f.others) != len(row.Contenders) {
		return m, fmt.Errorf("%d repeats (at least %d), %d sides for %d contenders", repeats, minRepeats, len(f.others), len(row.Contenders))
	}
	all := append([]entrant{f.mine}, f.others...)
	var first result
	for i, e := range all {
		r, err := e.do(e.work)
		if err != nil {
			return m, err
		}
		if i == 0 {
			first = r
			continue
		}
		d, err := apart(first.Scores, r.Scores)
		if err != nil {
			return m, err
		}
		m.Difference = max(m.Difference, d)
	}
	for m.Attempts = 1; ; m.Attempts++ {
		if err := m.set(ctx, row, repeats, all, f); err != nil {
			return m, err
		}
		if m.Steady = m.Spread <= maxSpread; m.Steady || m.Attempts > retries {
			return m, nil
		}
		note(m)
	}
}

// set does one set of repeats.
func (m *Measurement) set(ctx context.Context, row Row, repeats int, all []entrant, f field) error {
	m.Ratios = nil
	var mine, loops, shares []float64
	best := make([][]float64, len(row.Contenders)) // speeds in the repeats a contender won
	for r := range repeats {
		speed := make([]float64, len(all))
		for i := range all {
			if err := ctx.Err(); err != nil {
				return err
			}
			at := i
			if r%2 == 1 {
				at = len(all) - 1 - i
			}
			got, err := all[at].do(all[at].work)
			if err != nil {
				return err
			}
			speed[at] = all[at].work.units() / got.Seconds
		}
		fastest := slices.Max(speed[1:])
		winner := slices.Index(speed[1:], fastest)
		best[winner] = append(best[winner], fastest)
		mine = append(mine, speed[0])
		m.Ratios = append(m.Ratios, speed[0]/fastest)
		if f.loop == nil {
			continue
		}
		if reached := f.loop(); reached > 0 { // at level plain there is no such loop
			loops = append(loops, reached)
			shares = append(shares, speed[0]*f.cost/reached)
		}
	}
	m.Ratio = quantile(m.Ratios, 0.5)
	m.Spread = (quantile(m.Ratios, 0.75) - quantile(m.Ratios, 0.25)) / m.Ratio
	most := 0
	for i := range best {
		if len(best[i]) > len(best[most]) {
			most = i
		}
	}
	m.Contender = row.Contenders[most]
	m.CrayonTPS = quantile(mine, 0.5)
	m.PeerTPS = quantile(best[most], 0.5)
	if len(loops) > 0 {
		m.Ceiling, m.Loop, m.Share = row.Ceiling, quantile(loops, 0.5), quantile(shares, 0.5)
	}
	return nil
}

// Two engines on one file may differ by the rounding of their activations, and
// by no more.
const maxApart = 0.5 // nats a token; 0.14 was seen

// apart is the largest difference between two sides' scores of the same asks:
// an error when rounding does not explain it, as then they did other work.
func apart(a, b [][]float64) (float64, error) {
	if len(a) != len(b) {
		return 0, fmt.Errorf("scores of %d and %d asks", len(a), len(b))
	}
	worst := 0.0
	for i := range a {
		if len(a[i]) != len(b[i]) {
			return 0, fmt.Errorf("ask %d: scores of %d and %d choices", i, len(a[i]), len(b[i]))
		}
		for j := range a[i] {
			d := math.Abs(a[i][j] - b[i][j])
			if !(d <= maxApart) { // nor NaN
				return 0, fmt.Errorf("ask %d, choice %d: log-probability %.4f a token on one side, %.4f on the other", i, j, a[i][j], b[i][j])
			}
			worst = max(worst, d)
		}
	}
	return worst, nil
}

// quantile interpolates between the nearest order statistics (type 7 of
// Hyndman and Fan 1996).
func quantile(x []float64, q float64) float64 {
	s := slices.Sorted(slices.Values(x))
	at := q * float64(len(s)-1)
	lo := int(math.Floor(at))
	hi := min(lo+1, len(s)-1)
	return s[lo] + (at-float64(lo))*(s[hi]-s[lo])
}
