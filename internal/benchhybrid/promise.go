package benchhybrid

import (
	"cmp"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"crayon/internal/bench"
	"crayon/internal/route/calibrate"
)

// Promise is how often what a calibration promises is kept on rows that it has
// not seen. The rows are split at random; one part makes a calibration as the
// product does, the other is where it is kept or not, both resampled: for a share
// the threshold is set anew on each resample of the first part.
type Promise struct {
	What        calibrate.Promise `json:"what"`
	Target      float64           `json:"target"`
	Margin      float64           `json:"margin"` // how far off still counts as kept
	Kept        float64           `json:"kept"`   // share of the resamples
	Resamples   int               `json:"resamples"`
	Splits      int               `json:"splits"`  // calibrations made
	Refused     int               `json:"refused"` // calibrations that did not promise it; not counted
	Calibrated  int               `json:"calibrated_rows"`
	Unseen      int               `json:"unseen_rows"`
	Mean        float64           `json:"mean"` // what came of it
	Low         float64           `json:"low"`  // 95 % of the resamples lie in
	High        float64           `json:"high"`
	AskedWithin float64           `json:"asked_within"` // of the calibration; wider where the rows are few
}

const (
	promiseMargin    = 0.03
	promiseResamples = 200
	promiseShare     = 0.3
	// calibratedShare of the rows make the calibration: 2,200 of 7,200.
	calibratedShare = 2200.0 / 7200
)

// promises tries a share, and a quality that 30 % sent reach with room.
func promises(ctx context.Context, rows []Row, y outcomes, s *Section, o *JudgeOptions) ([]Promise, error) {
	if o.Splits == 0 {
		return nil, nil
	}
	n := int(calibratedShare * float64(len(rows)))
	all := told(rows, y.device, ownRow)
	for i := range all {
		all[i].Server = y.server[i]
	}
	tried := []Promise{{What: calibrate.Share, Target: promiseShare}}
	if at, ok := s.Accuracy[crayonRouter][named(promiseShare)]; ok {
		tried = append(tried, Promise{What: calibrate.Quality, Target: math.Floor(100*(at+max(s.Device, s.Server))/2)/100 - 0.01})
	}
	var out []Promise
	for _, p := range tried {
		p.Margin, p.Calibrated, p.Unseen = promiseMargin, n, len(rows)-n
		for p.AskedWithin = promiseMargin; p.AskedWithin < 0.5; p.AskedWithin += 0.01 {
			ask := calibrate.Ask{Promise: p.What, Target: p.Target, Within: p.AskedWithin}
			if ask.Refuse(n) == nil {
				break
			}
		}
		p.AskedWithin = bench.Rounded(p.AskedWithin)
		if p.AskedWithin >= 0.5 {
			continue // too few rows for any
		}
		if err := p.try(ctx, all, n, o); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// dealt is the rows in a random order in which those of one query stay together,
// so that next to none is on both sides of a cut.
func dealt(rows []calibrate.Row, rng *rand.Rand) []int {
	names := make([]string, len(rows))
	for i := range rows {
		names[i] = rows[i].Group
	}
	at, n := numbered(names)
	turn := rng.Perm(n)
	out := make([]int, len(rows))
	for i := range out {
		out[i] = i
	}
	slices.SortStableFunc(out, func(i, j int) int { return cmp.Compare(turn[at[i]], turn[at[j]]) })
	return out
}

// try makes the calibrations and counts.
func (p *Promise) try(ctx context.Context, all []calibrate.Row, n int, o *JudgeOptions) error {
	each := (promiseResamples + o.Splits - 1) / o.Splits
	came := make([][]float64, o.Splits)
	refused := make([]bool, o.Splits)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for k := range o.Splits {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			rng := rand.New(rand.NewPCG(o.Seed, uint64(k)))
			order := dealt(all, rng)
			pick := func(at []int) []calibrate.Row {
				out := make([]calibrate.Row, len(at))
				for i, x := range at {
					out[i] = all[x]
				}
				return out
			}
			mine, unseen := pick(order[:n]), pick(order[n:])
			c, err := calibrate.Make(mine, calibrate.Ask{Promise: p.What, Target: p.Target, Within: p.AskedWithin, Seed: o.Seed})
			switch {
			case errors.Is(err, calibrate.ErrNotKept), errors.Is(err, calibrate.ErrTooFewRows), errors.Is(err, calibrate.ErrOneClass):
				refused[k] = true
				return nil
			case err != nil:
				return err
			}
			came[k] = p.resample(c, mine, unseen, each, rng)
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var got []float64
	kept := 0.0
	for k := range came {
		if refused[k] {
			p.Refused++
			continue
		}
		for _, x := range came[k] {
			if off := x - p.Target; p.What == calibrate.Share && math.Abs(off) <= p.Margin || p.What == calibrate.Quality && off >= -p.Margin {
				kept++
			}
			got = append(got, x)
		}
	}
	p.Splits, p.Resamples = o.Splits, len(got)
	if len(got) > 0 {
		p.Kept, p.Mean = bench.Rounded(kept/float64(len(got))), bench.Rounded(mean(got))
		p.Low, p.High = bench.Interval(got)
		p.Low, p.High = bench.Rounded(p.Low), bench.Rounded(p.High)
	}
	return nil
}

// resample is what comes of the promise in resamples of both parts.
func (p *Promise) resample(c *calibrate.Calibration, mine, unseen []calibrate.Row, resamples int, rng *rand.Rand) []float64 {
	gains := make([]float64, len(mine))
	for i := range mine {
		gains[i] = c.Gain(mine[i])
	}
	later, sends := make([]float64, len(unseen)), make([]bool, len(unseen))
	for i := range unseen {
		later[i], sends[i] = c.Gain(unseen[i]), c.Sends(unseen[i])
	}
	out := make([]float64, resamples)
	again := make([]float64, len(gains))
	for b := range out {
		threshold := c.Rule.Threshold
		if p.What == calibrate.Share {
			for i := range again {
				again[i] = gains[rng.IntN(len(gains))]
			}
			threshold = calibrate.ShareThreshold(again, p.Target)
		}
		for range unseen {
			i := rng.IntN(len(unseen))
			switch sent := p.What == calibrate.Share && later[i] > threshold || p.What == calibrate.Quality && sends[i]; {
			case p.What == calibrate.Share && sent:
				out[b]++
			case p.What == calibrate.Quality && sent:
				out[b] += unseen[i].Server
			case p.What == calibrate.Quality:
				out[b] += unseen[i].Device
			}
		}
		out[b] /= float64(len(unseen))
	}
	return out
}
