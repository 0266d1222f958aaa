package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/spf13/cobra"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"

	"crayon"
	"crayon/internal/fault"
	"crayon/internal/route/calibrate"
)

// replayFlags are those of route replay.
type replayFlags struct {
	log, plot         string
	price, perDay     float64
	threshold         float64
	scope, confidence float64
	steps             int
}

// replayed is the JSON of route replay.
type replayed struct {
	Name       string       `json:"name"`
	Entries    int          `json:"entries"`
	Damaged    int          `json:"damaged_lines,omitempty"`
	Calibrated bool         `json:"calibrated"` // else only thresholds can be tried
	PerDay     float64      `json:"queries_per_day"`
	Was        replayPoint  `json:"was"`              // as it was decided
	At         *replayPoint `json:"at,omitempty"`     // at what was asked for
	Points     []replayed1  `json:"points,omitempty"` // the curve
	Area       float64      `json:"area_over_random,omitempty"`
}

// replayPoint is the log at one setting.
type replayPoint struct {
	Share      float64  `json:"share"`
	Quality    *float64 `json:"quality"` // expected; null where it was not calibrated
	CostPerDay float64  `json:"cost_per_day,omitempty"`
	Changed    int      `json:"changed"` // queries that would have gone elsewhere
}

type replayed1 struct {
	calibrate.Point
	CostPerDay float64 `json:"cost_per_day,omitempty"`
}

func (a *app) routeReplayCommand() *cobra.Command {
	var o replayFlags
	cmd := &cobra.Command{
		Use: "replay NAME", Short: "Decide the log's queries again at other thresholds or prices",
		Long: `Reads the log of decisions and says what would have been sent, what quality is to be
expected by the calibration, and what it costs, along the curve of shares and at a
setting of your own. No query is answered again: the log has each one's signals.`,
		Example: "  crayon route replay mine --price 0.002\n  crayon route replay mine --threshold 0.1 --plot curve.svg\n  crayon route replay mine --scope 0.2 --confidence 0.4",
		Args:    args(1, 1, "the NAME of a customisation"), ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := a.replay(cmd, args[0], &o)
			if err != nil {
				return err
			}
			if o.plot != "" {
				if err := plotReplay(r, o.plot); err != nil {
					return err
				}
			}
			return a.emit(r, func(w io.Writer) { writeReplay(w, r) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.log, "log", "", "the log's `FILE`, in place of this machine's")
	f.StringVar(&o.plot, "plot", "", "draw quality against share sent into `FILE` (.svg, .png)")
	f.Float64Var(&o.price, "price", 0, "of one query sent")
	f.Float64Var(&o.perDay, "queries-per-day", 0, "that come in all; 0: as the log tells")
	f.IntVar(&o.steps, "steps", 10, "points of the curve")
	f.Float64Var(&o.threshold, "threshold", 0, "try this least gain of a query sent")
	f.Float64Var(&o.scope, "scope", 0, "try this least similarity to the examples of a query kept, without a calibration")
	f.Float64Var(&o.confidence, "confidence", 0, "try this least mean token probability of a query kept, without a calibration")
	return cmd
}

// replayable are a log's entries of a customisation, as a calibration sees them.
type replayable struct {
	entries              []crayon.LoggedDecision
	gain, device, server []float64
	first                []float64 // gain, but of queries that leave anyway the largest: the order in which they go
}

func (a *app) replay(cmd *cobra.Command, name string, o *replayFlags) (*replayed, error) {
	if o.steps < 1 || o.steps > 1000 {
		return nil, usage(fmt.Errorf("--steps %d: want 1 to 1000", o.steps), "--steps 10")
	}
	lib, err := a.library()
	if err != nil {
		return nil, err
	}
	cal, id, err := lib.LoadCalibration(name)
	if err != nil {
		return nil, err
	}
	r := &replayed{Name: name, Calibrated: cal != nil, PerDay: o.perDay}
	all := replayable{}
	each := func(e *crayon.LoggedDecision) error {
		if e.Kind != "decision" || e.Name != name || e.Signals == nil {
			return nil
		}
		all.entries = append(all.entries, *e)
		if cal != nil {
			x := cal.Estimate(e.Row(), false)
			if e.Calibration == id && e.Told() && e.Device > 0 { // of one that left undrafted, the log knows more than its signals say
				x.Gain, x.Device, x.Server = e.Gain, e.Device, e.Server
			}
			all.gain, all.device, all.server = append(all.gain, x.Gain), append(all.device, x.Device), append(all.server, x.Server)
			first := x.Gain
			if cal.Outside(e.Row()) {
				first = 1
			}
			all.first = append(all.first, first)
		}
		return nil
	}
	if o.log != "" {
		r.Damaged, err = crayon.ReadDecisions(o.log, each)
	} else {
		r.Damaged, err = lib.Decisions(each)
	}
	if err != nil {
		return nil, err
	}
	if r.Entries = len(all.entries); r.Entries == 0 {
		return nil, &fault.Error{Op: "replay", Path: name, Err: errors.New("the log has no query of it"), Hint: "crayon run " + name + " \"QUESTION\"", Exit: fault.ExitUsage}
	}
	if r.PerDay == 0 {
		first, last := all.entries[0].Time, all.entries[r.Entries-1].Time
		r.PerDay = float64(r.Entries) / math.Max(1, last.Sub(first).Round(time.Second).Hours()/24)
	}
	r.Was = all.at(r.PerDay, o.price, func(i int) bool { return all.entries[i].Route == "server" })
	flags := cmd.Flags()
	switch {
	case flags.Changed("threshold") && cal == nil:
		return nil, &fault.Error{Op: "replay", Path: name, Err: errors.New("it is not calibrated, so there is no gain to compare with --threshold"), Hint: "crayon route calibrate " + name + " --data FILE --server-share 0.3", Exit: fault.ExitUsage}
	case flags.Changed("threshold"):
		at := all.at(r.PerDay, o.price, func(i int) bool { return all.first[i] > o.threshold })
		r.At = &at
	case flags.Changed("scope") || flags.Changed("confidence"):
		at := all.at(r.PerDay, o.price, func(i int) bool {
			s := all.entries[i].Signals
			return flags.Changed("scope") && s.Get("scope") < o.scope || flags.Changed("confidence") && s.Get("mean_token") < o.confidence
		})
		r.At = &at
	}
	if cal != nil {
		points := calibrate.Frontier(all.first, all.device, all.server, o.steps)
		for _, p := range points {
			r.Points = append(r.Points, replayed1{p, p.Share * r.PerDay * o.price})
		}
		r.Area = calibrate.AreaOverRandom(points)
	}
	return r, nil
}

// at is the log with the queries sent that sends says.
func (x *replayable) at(perDay, price float64, sends func(i int) bool) replayPoint {
	var p replayPoint
	var sent, quality float64
	for i, e := range x.entries {
		s := sends(i)
		if s {
			sent++
		}
		if s != (e.Route == "server") {
			p.Changed++
		}
		if x.gain != nil {
			quality += x.device[i]
			if s {
				quality += x.gain[i]
			}
		}
	}
	n := float64(len(x.entries))
	p.Share = sent / n
	p.CostPerDay = p.Share * perDay * price
	if x.gain != nil {
		q := quality / n
		p.Quality = &q
	}
	return p
}

func writeReplay(w io.Writer, r *replayed) {
	fmt.Fprintf(w, "%d queries of %s in the log, %.1f a day\n\n", r.Entries, r.Name, r.PerDay)
	fmt.Fprintf(w, "%-10s %7s %9s %10s %10s %8s\n", "", "sent", "threshold", "right", "cost/day", "changed")
	line := func(what string, p replayPoint) {
		quality := "-"
		if p.Quality != nil {
			quality = fmt.Sprintf("%.1f %%", 100**p.Quality)
		}
		fmt.Fprintf(w, "%-10s %5.1f %% %9s %10s %10.4g %8d\n", what, 100*p.Share, "", quality, p.CostPerDay, p.Changed)
	}
	line("as it was", r.Was)
	if r.At != nil {
		line("at yours", *r.At)
	}
	for _, p := range r.Points {
		fmt.Fprintf(w, "%-10s %5.1f %% %+9.3f %8.1f %% %10.4g\n", "", 100*p.Share, p.Threshold, 100*p.Quality, p.CostPerDay)
	}
	if !r.Calibrated {
		fmt.Fprintf(w, "\nit is not calibrated, so what is right is not known: crayon route calibrate %s --data FILE --server-share 0.3\n", r.Name)
	}
}

// plotReplay draws the curve beside what sending at random would give.
func plotReplay(r *replayed, path string) error {
	fail := func(err error, hint string) error {
		return &fault.Error{Op: "draw curve", Path: path, Err: err, Hint: hint}
	}
	if len(r.Points) < 2 {
		return fail(errors.New("there is no curve without a calibration"), "crayon route calibrate "+r.Name+" --data FILE --server-share 0.3")
	}
	curve := make(plotter.XYs, len(r.Points))
	for i, p := range r.Points {
		curve[i] = plotter.XY{X: 100 * p.Share, Y: 100 * p.Quality}
	}
	random := plotter.XYs{curve[0], curve[len(curve)-1]}
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = r.Name, "% sent to the server", "% right, expected"
	p.Add(plotter.NewGrid())
	for i, l := range []struct {
		name string
		xys  plotter.XYs
	}{{"by gain", curve}, {"at random", random}} {
		line, err := plotter.NewLine(l.xys)
		if err != nil {
			return fail(err, "")
		}
		line.Color, line.Width = plotutil.Color(i), vg.Points(1.5)
		line.Dashes = plotutil.Dashes(i)
		p.Add(line)
		p.Legend.Add(l.name, line)
	}
	if err := p.Save(14*vg.Centimeter, 9*vg.Centimeter, path); err != nil {
		return fail(err, "give the picture a name that ends in .svg or .png")
	}
	return nil
}
