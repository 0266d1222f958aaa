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

// timer does a work once and gives the seconds; a process, or a test's fake.
type timer interface {
	do(w Work) (float64, error)
}

// Measurement is what a row came to.
type Measurement struct {
	Name      string    `json:"name"`
	Ratio     float64   `json:"ratio"`      // median over repeats of llama.cpp's time over Crayon's
	Spread    float64   `json:"spread"`     // interquartile range of the ratios over their median
	Ratios    []float64 `json:"ratios"`     // one a repeat
	Attempts  int       `json:"attempts"`   // sets of repeats that it took
	Steady    bool      `json:"steady"`     // Spread was small enough in the end
	CrayonTPS float64   `json:"crayon_tps"` // median tokens/s
	PeerTPS   float64   `json:"peer_tps"`   // of the contender that was fastest most often
	Contender Contender `json:"contender"`  // which that was
}

// measure times a row: all engines once unrecorded, then sets of repeats until
// the ratios of one agree. contenders and others have the same order.
func measure(ctx context.Context, row Row, repeats int, crayon timer, others []timer) (Measurement, error) {
	m := Measurement{Name: row.Name}
	if repeats < minRepeats || len(others) == 0 || len(others) != len(row.Contenders) {
		return m, fmt.Errorf("%d repeats (at least %d), %d engines for %d contenders", repeats, minRepeats, len(others), len(row.Contenders))
	}
	all := append([]timer{crayon}, others...)
	for _, t := range all {
		if _, err := t.do(row.Work); err != nil {
			return m, err
		}
	}
	for m.Attempts = 1; ; m.Attempts++ {
		if err := m.set(ctx, row, repeats, all); err != nil {
			return m, err
		}
		if m.Steady = m.Spread <= maxSpread; m.Steady || m.Attempts > retries {
			return m, nil
		}
	}
}

// set does one set of repeats.
func (m *Measurement) set(ctx context.Context, row Row, repeats int, all []timer) error {
	m.Ratios = nil
	var mine []float64
	best := make([][]float64, len(row.Contenders)) // times in the repeats a contender won
	for r := range repeats {
		seconds := make([]float64, len(all))
		for i := range all {
			if err := ctx.Err(); err != nil {
				return err
			}
			at := i
			if r%2 == 1 {
				at = len(all) - 1 - i
			}
			var err error
			if seconds[at], err = all[at].do(row.Work); err != nil {
				return err
			}
		}
		fastest := slices.Min(seconds[1:])
		winner := slices.Index(seconds[1:], fastest)
		best[winner] = append(best[winner], fastest)
		mine = append(mine, seconds[0])
		m.Ratios = append(m.Ratios, fastest/seconds[0])
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
	m.CrayonTPS = float64(row.Work.Tokens) / quantile(mine, 0.5)
	m.PeerTPS = float64(row.Work.Tokens) / quantile(best[most], 0.5)
	return nil
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
