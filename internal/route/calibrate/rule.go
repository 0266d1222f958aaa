package calibrate

import (
	"errors"
	"fmt"
	"math"

	"crayon/internal/fault"
)

// Promise is what a threshold was set for.
type Promise string

// The promises.
const (
	Share   Promise = "share"   // this share of queries is sent
	Quality Promise = "quality" // so many answers are right, with as few sent as that takes
	Cost    Promise = "cost"    // so much a day is spent: a share, by price and queries a day
)

// Rule is from which gain on a query leaves, and what was found of that on rows
// it was not set on.
type Rule struct {
	Promise   Promise  `json:"promise"`
	Target    float64  `json:"target"`
	Within    float64  `json:"within"`          // how far off it may be
	Threshold float64  `json:"threshold"`       // a query whose gain is above it leaves
	Scope     *float64 `json:"scope,omitempty"` // one less like the examples leaves anyway: the rows tell nothing of such
	Early     *float64 `json:"early,omitempty"` // one whose gain before the draft is above it leaves undrafted
	Price     float64  `json:"price,omitempty"` // of a query sent
	PerDay    float64  `json:"per_day,omitempty"`
	Sent      Interval `json:"sent"`    // share, on the rows checked
	Right     Interval `json:"right"`   // share of answers, on the rows checked
	Device    float64  `json:"device"`  // the same if all stayed
	Server    float64  `json:"server"`  // the same if all left
	FitRows   int      `json:"fitted"`  // rows that model and threshold are from
	CheckRows int      `json:"checked"` // other rows
}

// Sentence says what was promised and what was found.
func (r *Rule) Sentence() string {
	var what string
	switch r.Promise {
	case Share:
		what = fmt.Sprintf("%.0f %% go to the server", 100*r.Target)
	case Quality:
		what = fmt.Sprintf("%.0f %% of answers are right, with as few sent as that takes", 100*r.Target)
	case Cost:
		what = fmt.Sprintf("%g a day at %g a query sent and %g queries", r.Target, r.Price, r.PerDay)
	}
	return fmt.Sprintf("%s; on %d rows it was checked on %.1f %% went (%.1f to %.1f), and %.1f %% were right (%.1f to %.1f)", what, r.CheckRows,
		100*r.Sent.Value, 100*r.Sent.Low, 100*r.Sent.High, 100*r.Right.Value, 100*r.Right.Low, 100*r.Right.High)
}

func (r *Rule) check() error {
	ok := r.Threshold >= never(-1) && r.Threshold <= never(1) && (r.Early == nil || finite(*r.Early)) && (r.Scope == nil || finite(*r.Scope)) && r.Target >= 0 && finite(r.Target)
	if !ok {
		return errors.New("its rule has numbers that no fit makes")
	}
	return nil
}

// defaultWithin is how far off a promise may be.
const defaultWithin = 0.1

// share the promise comes to.
func (a *Ask) share() (float64, error) {
	if a.Promise != Cost {
		return a.Target, nil
	}
	if !(a.Price > 0) || !(a.PerDay > 0) {
		return 0, &fault.Error{Op: "calibrate", Err: errors.New("a cost a day needs the price of a query sent and the queries a day"), Hint: "--price 0.002 --queries-per-day 500", Exit: fault.ExitUsage}
	}
	return max(0, min(1, a.Target/(a.Price*a.PerDay))), nil
}

// Refuse says what a promise cannot be made of: of its numbers, or of so few
// rows. Make does so too.
func (a *Ask) Refuse(rows int) error {
	if a.Within == 0 {
		a.Within = defaultWithin
	}
	fail := func(err error, hint string) error {
		return &fault.Error{Op: "calibrate", Err: err, Hint: hint, Exit: fault.ExitUsage}
	}
	top := 1.0
	if a.Promise == Cost {
		top = math.Inf(1)
	}
	switch {
	case a.Promise != Share && a.Promise != Quality && a.Promise != Cost:
		return fail(fmt.Errorf("promise %q", a.Promise), "--server-share 0.3, --quality 0.6 or --cost-per-day 1")
	case !(a.Target >= 0 && a.Target <= top):
		return fail(fmt.Errorf("a %s of %g", a.Promise, a.Target), "a share or quality is between 0 and 1")
	case !(a.Within > 0 && a.Within < 1):
		return fail(fmt.Errorf("to be met within %g", a.Within), "--within 0.1")
	}
	share, err := a.share()
	if err != nil {
		return err
	}
	need := RowsForShare(share, a.Within)
	if a.Promise == Quality {
		need = RowsForQuality(a.Target, a.Within)
	}
	if need = max(need, int(math.Ceil(4*leastEach/fitShare))); rows < need {
		return fail(fmt.Errorf("%w: %d; %s %g within %g needs %d", ErrTooFewRows, rows, a.Promise, a.Target, a.Within, need),
			fmt.Sprintf("add rows, or allow more: --within %.2g", math.Min(0.5, math.Ceil(100*a.Within*math.Sqrt(float64(need)/float64(max(1, rows))))/100)))
	}
	return nil
}

// outcome of a row when it is sent or stays; NaN where that is not known.
func outcome(r Row, sent bool, assumed float64) float64 {
	switch {
	case !sent:
		return r.Device
	case math.IsNaN(r.Server):
		return assumed
	}
	return r.Server
}

// shown is the threshold that sends the least while the quality is shown on the
// checked rows: thresholds in turn, from the best of the fitted rows down to
// sending less, as long as a test at 5 % shows each (Learn then Test with a
// fixed sequence, Angelopoulos et al., arXiv:2110.01052). The error names the
// rows it would take.
func (c *Calibration) shown(a *Ask, fitted []Point, checked []Row) (float64, error) {
	best := 0
	for i, p := range fitted {
		if p.Quality > fitted[best].Quality {
			best = i
		}
	}
	threshold, found := 0.0, false
	for i := best; i >= 0; i-- {
		t := max(never(-1), min(never(1), fitted[i].Threshold))
		if i == 0 {
			t = never(1)
		}
		losses := make([]float64, 0, len(checked))
		for _, r := range checked {
			if x := outcome(r, c.Outside(r) || c.Gain(r) > t, c.Assumed); !math.IsNaN(x) {
				losses = append(losses, 1-x)
			}
		}
		if worseThan(losses, 1-a.Target) > 1-confidence {
			break
		}
		threshold, found = t, true
	}
	if found {
		return threshold, nil
	}
	reach := fitted[best].Quality
	if reach <= a.Target {
		return 0, &fault.Error{Op: "calibrate", Err: fmt.Errorf("%w: a quality of %g; at best it is about %.2f, with %.0f %% sent", ErrNotKept, a.Target, reach, 100*fitted[best].Share),
			Hint: fmt.Sprintf("--quality %.2f", math.Floor(100*(reach-a.Within))/100), Exit: fault.ExitRefused}
	}
	return 0, &fault.Error{Op: "calibrate", Err: fmt.Errorf("%w: a quality of %g is not shown by %d rows; at best it is about %.2f, which takes about %d rows to show", ErrNotKept, a.Target, len(checked), reach, RowsForQuality(a.Target, reach-a.Target)),
		Hint: fmt.Sprintf("add rows, or --quality %.2f", math.Floor(100*(reach-a.Within))/100), Exit: fault.ExitRefused}
}

// ErrNotKept is a promise that the checked rows do not bear out.
var ErrNotKept = errors.New("the promise does not hold on the rows it was checked on")
