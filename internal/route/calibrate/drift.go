package calibrate

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Band is how often something happens by calibration: a share of queries with
// the interval it was found in. Sent is the queries sent; the others are queries
// whose signal lies beyond an edge that a tenth of the calibrated ones did.
type Band struct {
	Name   string  `json:"name"`
	Signal string  `json:"signal,omitempty"` // "": of the queries sent
	Edge   float64 `json:"edge,omitempty"`
	Above  bool    `json:"above,omitempty"` // beyond is above the edge, else below
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// Sent is the band of the share sent.
const Sent = "sent"

// watched are the signals whose drift is looked for: lower is less like the
// user's own, or less sure.
var watched = []string{"scope", "mean_token", "choice_margin", "pool_scope"}

// edgeShare of the calibrated queries lie beyond an edge.
const edgeShare = 0.1

// leastBand is the rows a signal's band takes.
const leastBand = 20

func (b *Band) check() error {
	if b.Low < 0 || !(b.High >= b.Low) || b.High > 1 || !finite(b.Edge) {
		return errors.New("a band that no shares can be in")
	}
	return nil
}

// hit says whether a query is counted; ok is false where its signal was not
// measured.
func (b *Band) hit(r Row, sent bool) (hit, ok bool) {
	if b.Signal == "" {
		return sent, true
	}
	x := r.Signals.Get(b.Signal)
	if b.Above {
		return x > b.Edge, !math.IsNaN(x)
	}
	return x < b.Edge, !math.IsNaN(x)
}

// bands are those of the rows checked.
func bands(rows []Row, sent []bool) []Band {
	n := 0
	for _, s := range sent {
		if s {
			n++
		}
	}
	in := ClopperPearson(n, len(rows), confidence)
	out := []Band{{Name: Sent, Low: in.Low, High: in.High}}
	for _, name := range watched {
		var xs []float64
		for _, r := range rows {
			if x := r.Signals.Get(name); !math.IsNaN(x) {
				xs = append(xs, x)
			}
		}
		if len(xs) < leastBand {
			continue
		}
		slices.SortFunc(xs, cmp.Compare)
		b := Band{Name: name, Signal: name, Edge: xs[int(edgeShare*float64(len(xs)))]}
		k := 0
		for _, x := range xs {
			if x < b.Edge {
				k++
			}
		}
		in := ClopperPearson(k, len(xs), confidence)
		b.Low, b.High = in.Low, in.High
		out = append(out, b)
	}
	return out
}

// Watch tells whether live queries have left a calibration's bands. Each band is
// a test by betting: the alarm is when the likelihood of shares beyond the band,
// averaged, is 1/alpha times what any share within it explains (an e-process;
// Ville, 1939). So over all queries ever, the probability of any false alarm is
// at most Alarm where the bands hold. Not safe for concurrent use.
type Watch struct {
	bands []Band
	n, k  []int
	peak  []float64
}

// Alarm is the largest probability that a watch ever raises a false alarm.
const Alarm = 0.01

// NewWatch watches a calibration's bands.
func NewWatch(bands []Band) *Watch {
	return &Watch{bands: bands, n: make([]int, len(bands)), k: make([]int, len(bands)), peak: make([]float64, len(bands))}
}

// Drift is one band as it stands.
type Drift struct {
	Band
	Queries  int     `json:"queries"`
	Share    float64 `json:"share"`    // of them; 0 where there are none
	Evidence float64 `json:"evidence"` // the largest so far; an alarm from Needed on
	Needed   float64 `json:"needed"`
	Alarm    bool    `json:"alarm"`
}

// Sentence says what the band counts and where it stands.
func (d *Drift) Sentence() string {
	what := "queries that leave"
	if d.Signal != "" {
		side := "below"
		if d.Above {
			side = "above"
		}
		what = fmt.Sprintf("queries with %s %s %.3f", d.Signal, side, d.Edge)
	}
	return fmt.Sprintf("%s: %.1f %% of %d, calibrated %.1f to %.1f", what, 100*d.Share, d.Queries, 100*d.Low, 100*d.High)
}

// Add counts a query and returns the bands whose alarm that raises.
func (w *Watch) Add(r Row, sent bool) []Drift {
	var raised []Drift
	for i := range w.bands {
		hit, ok := w.bands[i].hit(r, sent)
		if !ok {
			continue
		}
		w.n[i]++
		if hit {
			w.k[i]++
		}
		was := w.peak[i] >= w.needed()
		w.peak[i] = max(w.peak[i], evidence(w.bands[i], w.k[i], w.n[i]))
		if !was && w.peak[i] >= w.needed() {
			raised = append(raised, w.at(i))
		}
	}
	return raised
}

func (w *Watch) needed() float64 { return float64(max(1, len(w.bands))) / Alarm }

func (w *Watch) at(i int) Drift {
	return Drift{Band: w.bands[i], Queries: w.n[i], Share: float64(w.k[i]) / float64(max(1, w.n[i])), Evidence: w.peak[i], Needed: w.needed(), Alarm: w.peak[i] >= w.needed()}
}

// Drifts are all bands as they stand.
func (w *Watch) Drifts() []Drift {
	out := make([]Drift, len(w.bands))
	for i := range out {
		out[i] = w.at(i)
	}
	return out
}

// beyond is how many shares on each side of a band are bet on.
const beyond = 12

// evidence is the mean, over shares on both sides of the band, of their
// likelihood over that of the band's nearer end. Each is a supermartingale
// under every share within the band, so the mean is.
func evidence(b Band, k, n int) float64 {
	hits, misses := float64(k), float64(n-k)
	var sum float64
	side := func(end, room float64) {
		for j := range beyond {
			// Denser near the band: small drifts are likelier than large ones.
			f := float64(j+1) / beyond
			theta := end + room*f*f*(1-1e-3)
			sum += math.Exp(min(600, hits*logOver(theta, end)+misses*logOver(1-theta, 1-end)))
		}
	}
	sides := 0.0
	if b.High < 1 {
		side(b.High, 1-b.High)
		sides++
	}
	if b.Low > 0 {
		side(b.Low, -b.Low)
		sides++
	}
	if sides == 0 {
		return 0
	}
	return sum / (sides * beyond)
}

// logOver is ln(a / b), with 0 / 0 as 1.
func logOver(a, b float64) float64 {
	switch {
	case a == b:
		return 0
	case b == 0:
		return 600
	}
	return math.Log(a / b)
}
