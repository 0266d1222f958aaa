package cli

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"crayon"
	"crayon/internal/accel"
	"crayon/internal/adapter"
	"crayon/internal/bench"
	"crayon/internal/benchengine"
	"crayon/internal/benchhybrid"
	"crayon/internal/device"
	"crayon/internal/gguf"
	"crayon/internal/pool"
	"crayon/internal/pooltrain"
	"crayon/internal/store"
	"crayon/internal/strategy"
)

func (a *app) benchCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "bench", Short: "Measure what customisation and routing are worth"})
	cmd.AddCommand(a.benchCustomizeCommand(), a.benchHybridCommand(), a.benchMergeCommand(), a.benchJoinCommand(), a.benchReportCommand(), a.benchVerifyCommand())
	return cmd
}

// benchFiles are what a report can be written to.
type benchFiles struct{ raw, html, plot string }

func (f *benchFiles) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.html, "html", "", "write the report to `FILE`, one page with its plots")
	cmd.Flags().StringVar(&f.plot, "plot", "", "draw the figures to `FILE` (.png or .svg)")
}

// drawn is a report of either benchmark.
type drawn interface {
	WriteText(w io.Writer) error
	WriteHTML(w io.Writer) error
	WritePlot(w io.Writer, format string) error
}

// write writes the report's pictures.
func (f *benchFiles) write(report drawn) error {
	if f.plot != "" {
		format := strings.TrimPrefix(filepath.Ext(f.plot), ".")
		if err := store.WriteFile(f.plot, func(w io.Writer) error { return report.WritePlot(w, format) }); err != nil {
			return err
		}
	}
	if f.html != "" {
		return store.WriteFile(f.html, report.WriteHTML)
	}
	return nil
}

// benchOptions are the flags of bench customize.
type benchOptions struct {
	bench.Options
	benchFiles
	data, single, baselines, prior, dump, memory string
	elsewhere                                    bool
	device                                       devices
}

func (a *app) benchCustomizeCommand() *cobra.Command {
	o := benchOptions{Options: bench.DefaultOptions()}
	cmd := &cobra.Command{
		Use: "customize --data DIR", Aliases: []string{"customise"}, Short: "Score users made from question-answer data, by strategy",
		Long: `Makes users from the data sets in DIR, customises each from a few rows, and scores
other rows by choice, with strategies of the product, rivals and controls:
` + wrapped(bench.Strategies(), 80) + `.
Intervals are 95 %, by bootstrap over data sets, users, draws of examples and rows.`,
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.data == "" {
				return usage(errors.New("no data folder is named"), cmd.CommandPath()+" --data DIR")
			}
			if err := a.hand(o.device); err != nil {
				return err
			}
			if _, ok := a.accelerator.(accel.Grouped); ok && o.device > 0 {
				return usage(errors.New("the benchmark is for one process"), "unset WORLD_SIZE, and --device cuda:N for several GPUs")
			}
			return a.bench(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", dataHelp)
	f.IntVar(&o.Users, "users", 0, "score at most this many users; 0: all")
	f.IntVar(&o.Rows, "rows", o.Rows, "score at most this many rows a user")
	f.IntSliceVar(&o.Shots, "shots", o.Shots, "examples a user customises from; several as `0,4,16,64`")
	f.IntVar(&o.Draws, "seeds", o.Draws, "draws of the examples, 1 to 3")
	f.StringSliceVar(&o.Datasets, "datasets", nil, "only these data `SETS`, or SET/SUBJECT users")
	f.StringSliceVar(&o.Groups, "groups", nil, "only users of these `GROUPS`: seen, new_subjects, new_datasets, related")
	f.StringSliceVar(&o.Strategies, "strategies", nil, "only these `STRATEGIES`")
	f.BoolVar(&o.Full, "full", false, "all strategies, not the short list")
	f.DurationVar(&o.Budget, "budget-per-user", o.Budget, "what choosing a strategy may take on 2 cores, about")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "of the rows' order and the bootstrap")
	f.IntVar(&o.Resamples, "resamples", o.Resamples, "of the bootstrap")
	f.StringVar(&o.baselines, "baselines", "", "the rivals single, single_r24 and single_total: a `FILE` of pool train --rivals; those of the pool's file otherwise")
	f.StringVar(&o.single, "single", "", "the rival single alone: a GGUF adapter `FILE`")
	f.StringVar(&o.prior, "prior", "", "what other users' tasks taught: a JSON `FILE` in place of the program's own")
	f.BoolVar(&o.Generate, "generate", false, "also generate answers and match them exactly")
	f.BoolVar(&o.elsewhere, "elsewhere", false, "also measure the customised model on plain chat")
	f.BoolVar(&o.Scores, "scores", false, "keep every choice's score, log-probability and lengths in --raw")
	f.BoolVar(&o.Contamination, "contamination", false, "also look for the scored rows among the pool's training rows and the user's examples; part of --full")
	f.StringVar(&o.raw, "raw", "", "write each row's choices to `FILE` (JSON lines, gzip)")
	f.StringVar(&o.dump, "dump", "", "write the rows' features and scores to `FILE` (JSON lines, gzip), to learn a prior from")
	f.StringVar(&o.memory, "memory", "", "keep what the model says in `FILE`, and ask for nothing that it has: other strategies, priors and choosers cost no passes")
	f.StringVar(&o.Resume, "resume", "", "keep finished users in the `FOLDER`; the same command goes on with the others")
	o.flags(cmd)
	deviceFlag(f, &o.device)
	return cmd
}

// wrapped joins names by commas into lines of a width.
func wrapped(names []string, width int) string {
	var b strings.Builder
	line := 0
	for i, name := range names {
		if i > 0 {
			b.WriteByte(',')
			if line += len(name) + 2; line > width {
				b.WriteByte('\n')
				line = 0
			} else {
				b.WriteByte(' ')
			}
		}
		if line == 0 {
			line = len(name)
		}
		b.WriteString(name)
	}
	return b.String()
}

func (a *app) bench(ctx context.Context, o benchOptions) (err error) {
	data, err := a.openData(ctx, []string{o.data}, nil)
	if err != nil {
		return err
	}
	model, err := a.modelPath()
	if err != nil {
		return err
	}
	p, err := crayon.OpenPool(a.set.Pool)
	if err != nil {
		return err
	}
	digest, err := gguf.Digest(model)
	if err != nil {
		return err
	}
	o.Digests = map[string]string{"model": digest, "pool": p.Digest()}
	if err := o.rivals(p); err != nil {
		return err
	}
	trained, err := benchengine.Provenance(ctx, data, p)
	if err != nil {
		return err
	}
	o.Provenance = trained.Provenance
	if o.Full || o.Contamination {
		o.Trained, o.Untold = trained.Rows, trained.Untold
	}
	if o.prior != "" {
		if o.Prior, o.Digests["prior"], err = readPrior(o.prior); err != nil {
			return err
		}
	}
	if o.elsewhere {
		if o.Elsewhere, err = bench.Chat(); err != nil {
			return err
		}
	}
	d, err := device.Open(ctx, model, p, device.Options{Threads: a.set.Threads, Digest: digest})
	if err != nil {
		return err
	}
	defer d.Close()
	a.warn(d.Warning)
	scorer := benchengine.New(d)
	engine, err := a.engine(ctx, o.device, model, nil)
	if err != nil {
		return err
	}
	if engine != nil {
		defer engine.Close()
		scorer, o.Device = benchengine.With(d, engine.LogProbs, engine.Features), engine.Name()
	}
	if o.memory != "" {
		of := bench.Source{Model: digest, Pool: p.Digest(), Device: o.Device}
		if o.Memory, err = bench.OpenMemory(o.memory, of); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, o.Memory.Close()) }()
		o.Device = o.Memory.Device()
	}
	show, done := a.progress()
	o.Progress = func(p bench.Progress) { show(fmt.Sprintf("%s, %s", p.User, p.Strategy), p.Done, p.Total) }
	var report *bench.Report
	var sheets []bench.Sheet
	run := func() error {
		report, sheets, err = bench.Run(ctx, data, scorer.Learning(), o.Options)
		done()
		return err
	}
	if o.dump == "" {
		err = run()
	} else {
		err = store.WriteFile(o.dump, func(w io.Writer) error {
			z := gzip.NewWriter(w)
			o.Dump = z
			if err := run(); err != nil {
				return err
			}
			return z.Close()
		})
	}
	if err != nil {
		return err
	}
	return a.benchOut(report, sheets, o.benchFiles)
}

// rivals puts the baselines of a file into the pool.
func (o *benchOptions) rivals(p *pool.Pool) error {
	if o.baselines != "" {
		b, err := pool.OpenBaselines(o.baselines)
		if err != nil {
			return err
		}
		if err := p.Attach(b); err != nil {
			return err
		}
		o.Digests["baselines"] = b.Digest()
	}
	if o.single == "" {
		return nil
	}
	rival, err := adapter.ReadGGUF(o.single, p.Base.Shape)
	if err != nil {
		return err
	}
	if p.Baseline == nil {
		p.Baseline = map[string]*adapter.Adapter{}
	}
	p.Baseline[pooltrain.SingleName] = rival
	o.Digests["single"], err = gguf.Digest(o.single)
	return err
}

// benchOut gives out a report and its files.
func (a *app) benchOut(report *bench.Report, sheets []bench.Sheet, f benchFiles) error {
	if f.raw != "" {
		if err := report.Keep(f.raw, a.outFile, sheets); err != nil {
			return err
		}
	}
	return a.drawnOut(report, f)
}

// drawnOut gives out a report with its pictures.
func (a *app) drawnOut(report drawn, f benchFiles) error {
	if err := f.write(report); err != nil {
		return err
	}
	return a.emit(report, func(w io.Writer) {
		if err := report.WriteText(w); err != nil {
			a.warn(err.Error())
		}
	})
}

func (a *app) benchMergeCommand() *cobra.Command {
	var f benchFiles
	var group string
	cmd := &cobra.Command{
		Use: "merge REPORT...", Short: "Make one report of several, such as those of five folds",
		Long: `Reads reports of bench customize with their raw rows, verifies them, and makes one of
them: of each the users of the group. With pools that each left one fold of families
out, every data set is so scored by a pool that has not seen its family. Reports of
pools with other training seeds count as repeats.`,
		Example: "  crayon bench merge fold-1.json fold-2.json --out all.json --raw all.jsonl.gz",
		Args:    args(1, 1024, "the REPORTs to merge"),
		RunE: func(_ *cobra.Command, args []string) error {
			report, sheets, err := bench.Merge(args, bench.Group(group))
			if err != nil {
				return err
			}
			return a.benchOut(report, sheets, f)
		},
	}
	cmd.Flags().StringVar(&group, "group", string(bench.NewDataset), "whose users: new_datasets, new_subjects, seen or related")
	cmd.Flags().StringVar(&f.raw, "raw", "", "write each row's choices to `FILE` (JSON lines, gzip)")
	f.flags(cmd)
	return cmd
}

func (a *app) benchJoinCommand() *cobra.Command {
	var f benchFiles
	cmd := &cobra.Command{
		Use: "join REPORT...", Short: "Make one report of several of the same users, each with other strategies",
		Long: `Reads reports of bench customize with their raw rows, verifies them, and puts the
strategies of all beside each other, row by row: what is measured later is so compared
in pairs with what was there. Users, rows, examples, model and pool must be the same. Of
a strategy that several have, the first report's counts.`,
		Example: "  crayon bench join new.json old.json --out both.json --raw both.jsonl.gz",
		Args:    args(2, 64, "the REPORTs to join"),
		RunE: func(_ *cobra.Command, args []string) error {
			report, sheets, err := bench.Join(args)
			if err != nil {
				return err
			}
			return a.benchOut(report, sheets, f)
		},
	}
	cmd.Flags().StringVar(&f.raw, "raw", "", "write each row's choices to `FILE` (JSON lines, gzip)")
	f.flags(cmd)
	return cmd
}

func (a *app) benchReportCommand() *cobra.Command {
	var f benchFiles
	cmd := &cobra.Command{
		Use: "report REPORT", Short: "Show a report again, as text, a page or a picture",
		Long: `Shows a report of bench customize, whose figures are computed again from its raw
rows before, or of bench hybrid, whose raw rows are checked by their digest alone
(bench verify judges them again, which takes minutes).`,
		Example: "  crayon bench report bench/results/hybrid.json --plot hybrid.svg",
		Args:    args(1, 1, "the REPORT"),
		RunE: func(_ *cobra.Command, args []string) error {
			if benchhybrid.IsReport(args[0]) {
				report, _, err := benchhybrid.ReadReport(args[0])
				if err != nil {
					return err
				}
				return a.drawnOut(report, f)
			}
			report, _, err := bench.ReadVerified(args[0])
			if err != nil {
				return err
			}
			return a.benchOut(report, nil, f)
		},
	}
	f.flags(cmd)
	return cmd
}

func (a *app) benchVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "verify REPORT...", Short: "Compute a report's figures again from its raw rows", Args: args(1, 1024, "the REPORTs to verify"),
		RunE: func(cmd *cobra.Command, args []string) error {
			type verified struct {
				File  string `json:"file"`
				Users int    `json:"users"`
				Rows  int    `json:"rows"`
				Raw   string `json:"raw"`
			}
			result := struct {
				Verified []verified `json:"verified"`
			}{}
			for _, path := range args {
				if benchhybrid.IsReport(path) {
					report, rows, err := benchhybrid.ReadReport(path)
					if err != nil {
						return err
					}
					if err := report.Verify(cmd.Context(), rows); err != nil {
						return err
					}
					result.Verified = append(result.Verified, verified{path, report.Users, report.Rows, report.Digests["raw"]})
					continue
				}
				report, _, err := bench.ReadVerified(path)
				if err != nil {
					return err
				}
				result.Verified = append(result.Verified, verified{path, report.Users, report.Rows, report.Digests["raw"]})
			}
			return a.emit(result, func(w io.Writer) {
				for _, v := range result.Verified {
					fmt.Fprintf(w, "%s: %d users, %d rows; every figure follows from the raw rows %.12s\n", v.File, v.Users, v.Rows, v.Raw)
				}
			})
		},
	}
}

// readPrior reads a prior and the sha256 of its file.
func readPrior(path string) (*strategy.Prior, string, error) {
	text, err := store.ReadFile(path, 16<<20)
	if err != nil {
		return nil, "", err
	}
	p, err := strategy.ParsePrior(text)
	return p, fmt.Sprintf("%x", sha256.Sum256(text)), err
}
