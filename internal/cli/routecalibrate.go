package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"crayon"
	"crayon/internal/benchhybrid"
	"crayon/internal/fault"
	"crayon/internal/route/calibrate"
	"crayon/internal/store"
)

// calibrateFlags are those of route calibrate.
type calibrateFlags struct {
	data                  string
	share, quality, cost  float64
	within, price, perDay float64
	serverQuality         float64
	ask, forget           bool
	shipped               bool
	pools                 []string
	into, answers         string
}

// calibrated is the JSON of route calibrate.
type calibrated struct {
	Name        string              `json:"name,omitempty"`
	File        string              `json:"file"`
	Calibration *crayon.Calibration `json:"calibration"`
}

func (a *app) routeCalibrateCommand() *cobra.Command {
	var o calibrateFlags
	cmd := &cobra.Command{
		Use: "calibrate NAME --data FILE", Short: "Learn from your rows when a query should leave, so that a promise holds",
		Long: `Answers the rows of FILE on this machine, learns from who was right, and sets the
threshold on one part of the rows so that a share goes to the server, a quality is
reached, or a cost a day is kept. The promise is checked on the other part; where
that does not bear it out, or the rows are too few for it, nothing is stored.

FILE is an example file (question, answer, choices, context) with, if you know it,
what the server answers in a column "server". Without, say what share of its
answers you take to be right, or have it asked.`,
		Example: `  crayon route calibrate mine --data rows.csv --server-share 0.3
  crayon route calibrate mine --data rows.csv --quality 0.7 --ask-server
  crayon route calibrate mine --data rows.csv --cost-per-day 1 --price 0.002 --server-quality 0.8`,
		Args: args(0, 1, "the NAME of a customisation"), ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.shipped {
				return a.calibrateDefault(cmd, &o)
			}
			if len(args) == 0 {
				return usage(errors.New("crayon route calibrate needs the NAME of a customisation"), cmd.UseLine())
			}
			if o.forget {
				return a.forgetCalibration(args[0])
			}
			return a.calibrate(cmd, args[0], &o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "`FILE` of rows with answers")
	f.Float64Var(&o.share, "server-share", 0, "share of queries that are to go to the server")
	f.Float64Var(&o.quality, "quality", 0, "share of answers that are to be right, with as few sent as that takes")
	f.Float64Var(&o.cost, "cost-per-day", 0, "what may be spent a day, by --price and --queries-per-day")
	f.Float64Var(&o.within, "within", 0.1, "how far off the promise may be; the less, the more rows it needs")
	f.Float64Var(&o.price, "price", 0, "of one query sent, in the money of --cost-per-day; 0: by server.price_in, server.price_out and the log")
	f.Float64Var(&o.perDay, "queries-per-day", 0, "that come in all; 0: as the log of decisions tells")
	f.Float64Var(&o.serverQuality, "server-quality", 0, "share of the server's answers taken to be right where no row says")
	f.BoolVar(&o.ask, "ask-server", false, "ask the server each row that does not say what it answers; counts as any call")
	f.StringVar(&o.answers, "answers", "", "also write the rows with the server's answers to `FILE`, to calibrate on again without asking")
	f.BoolVar(&o.forget, "forget", false, "take the calibration of NAME away")
	f.BoolVar(&o.shipped, "default", false, "make the calibration that ships with the program, from measured rows: JSON lines of signals and outcomes, or raw files of bench hybrid, with commas")
	f.StringSliceVar(&o.pools, "for-pool", nil, "with --default: pool `FILES` it holds for")
	f.StringVar(&o.into, "to", "", "with --default: the `FILE` to write")
	settingFlags(f, "server.url", "server.model")
	return cmd
}

// promise reads which of the three was asked for.
func (o *calibrateFlags) promise(cmd *cobra.Command) (calibrate.Ask, error) {
	ask := calibrate.Ask{Within: o.within, Price: o.price, PerDay: o.perDay, Server: o.serverQuality}
	n := 0
	for _, p := range []struct {
		flag    string
		promise calibrate.Promise
		target  float64
	}{{"server-share", crayon.PromiseShare, o.share}, {"quality", crayon.PromiseQuality, o.quality}, {"cost-per-day", crayon.PromiseCost, o.cost}} {
		if cmd.Flags().Changed(p.flag) {
			n++
			ask.Promise, ask.Target = p.promise, p.target
		}
	}
	if n != 1 {
		return ask, usage(errors.New("a calibration keeps one promise"), "--server-share 0.3, --quality 0.6 or --cost-per-day 1")
	}
	if o.serverQuality < 0 || o.serverQuality > 1 || math.IsNaN(o.serverQuality) {
		return ask, usage(fmt.Errorf("--server-quality %g: want a number from 0 to 1", o.serverQuality), "--server-quality 0.7")
	}
	return ask, nil
}

func (a *app) calibrate(cmd *cobra.Command, name string, o *calibrateFlags) error {
	ask, err := o.promise(cmd)
	if err != nil {
		return err
	}
	if o.data == "" {
		return usage(errors.New("no file of rows is named"), cmd.UseLine())
	}
	lib, err := a.library()
	if err != nil {
		return err
	}
	custom, err := lib.Load(name)
	if err != nil {
		return err
	}
	rows, err := crayon.ReadCalibrationRows(o.data, custom.Labels...)
	if err != nil {
		return err
	}
	if ask.Promise == crayon.PromiseCost {
		if err := a.priceFromLog(lib, name, &ask); err != nil {
			return err
		}
	}
	c, custom, err := a.openWith(cmd.Context(), name)
	if err != nil {
		return err
	}
	defer c.Close()
	show, done := a.progress()
	opt := crayon.CalibrateOptions{Ask: ask, AskServer: o.ask, Data: o.data, Answers: o.answers}
	cal, err := c.Calibrate(cmd.Context(), custom, rows, opt, func(n, total int) { show("rows", n, total) })
	done()
	if err != nil {
		return err
	}
	result := calibrated{Name: name, File: lib.CalibrationFile(name), Calibration: cal}
	return a.emit(result, func(w io.Writer) { writeCalibration(w, result) })
}

// priceFromLog fills what was not said: queries a day, and by the first server's
// prices what the queries in the log that it answered cost in the mean.
func (a *app) priceFromLog(lib *crayon.Library, name string, ask *calibrate.Ask) error {
	all, _, err := lib.RouteStatus("", name)
	if err != nil {
		return err
	}
	s := &all[0]
	if ask.PerDay == 0 {
		ask.PerDay = s.PerDay
	}
	if servers := serversOf(a.set.Server); ask.Price == 0 && len(servers) > 0 && servers[0].Price != nil {
		p := servers[0].Price
		ask.Price = (p.In*s.SentPrompt + p.Out*s.SentAnswer) / 1e6
	}
	return nil
}

func writeCalibration(w io.Writer, r calibrated) {
	c := r.Calibration
	fmt.Fprintf(w, "promise    %s\n", c.Rule.Sentence())
	fmt.Fprintf(w, "rows       %d learned from, %d checked on\n", c.Rule.FitRows, c.Rule.CheckRows)
	fmt.Fprintf(w, "alone      the device is right on %.1f %%, the server on %.1f %%%s\n", 100*c.Rule.Device, 100*c.Rule.Server, given(c))
	fmt.Fprintf(w, "device     AUROC %.3f, Brier skill %+.3f", c.Device.Fit.AUROC, c.Device.Fit.BrierSkill)
	if c.Device.Rows >= leastECE {
		fmt.Fprintf(w, ", calibration error %.3f", c.Device.Fit.ECE)
	}
	fmt.Fprintln(w, " (each row judged by a model that had not seen it)")
	if c.Rule.Threshold >= 1 {
		fmt.Fprintln(w, "threshold  by its gain no query leaves")
	} else {
		fmt.Fprintf(w, "threshold  a query leaves where the server is more probably right by more than %+.3f\n", c.Rule.Threshold)
	}
	if c.Rule.Scope != nil {
		fmt.Fprintf(w, "scope      or where it is less like your examples than %.3f, which the rows say nothing of\n", *c.Rule.Scope)
	}
	if c.Rule.Early != nil {
		fmt.Fprintf(w, "undrafted  where that is above %+.3f before the draft\n", *c.Rule.Early)
	}
	fmt.Fprintf(w, "file       %s\n", r.File)
}

// leastECE is the rows from which a calibration error is told: of fewer, the luck
// of 15 bins is most of it.
const leastECE = 1500

func given(c *crayon.Calibration) string {
	if c.Given {
		return ", which was said, not measured"
	}
	return ""
}

func (a *app) forgetCalibration(name string) error {
	lib, err := a.library()
	if err != nil {
		return err
	}
	if err := lib.ForgetCalibration(name); err != nil {
		return err
	}
	return a.emit(map[string]string{"forgot": name}, func(w io.Writer) { fmt.Fprintf(w, "%s is not calibrated any more\n", name) })
}

// calibrateDefault makes the calibration that ships with the program.
func (a *app) calibrateDefault(cmd *cobra.Command, o *calibrateFlags) error {
	if o.data == "" || o.into == "" || len(o.pools) == 0 {
		return usage(errors.New("--default needs --data, --to and --for-pool"), "crayon route calibrate --default --data rows.jsonl --for-pool pool/default.crayon --server-share 0.3 --to default.json")
	}
	ask, err := o.promise(cmd)
	if err != nil {
		return err
	}
	rows, err := measuredRows(o.data)
	if err != nil {
		return err
	}
	ask.Whole = true
	cal, err := calibrate.Make(rows, ask)
	if err != nil {
		return err
	}
	for _, path := range o.pools {
		p, err := crayon.OpenPool(path)
		if err != nil {
			return err
		}
		cal.Digests.Pools, cal.Digests.Lineage = append(cal.Digests.Pools, p.Digest()), p.Base.Lineage
	}
	data, err := cal.Marshal()
	if err != nil {
		return &fault.Error{Op: "write calibration", Path: o.into, Err: err}
	}
	if err := store.WriteBytes(o.into, append(data, '\n')); err != nil {
		return err
	}
	result := calibrated{File: o.into, Calibration: cal}
	return a.emit(result, func(w io.Writer) { writeCalibration(w, result) })
}

// measuredRows reads rows for a default calibration: JSON lines, or raw files of
// bench hybrid with commas between them.
func measuredRows(data string) ([]calibrate.Row, error) {
	if strings.HasSuffix(data, ".gz") {
		return benchhybrid.Measured(strings.Split(data, ","))
	}
	file, err := os.Open(data)
	if err != nil {
		return nil, &fault.Error{Op: "read routing rows", Path: data, Err: errors.Unwrap(err), Exit: fault.ExitUsage}
	}
	defer file.Close()
	return calibrate.ReadRows(data, file)
}
