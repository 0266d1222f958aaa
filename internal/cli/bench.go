package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"crayon"
	"crayon/internal/adapter"
	"crayon/internal/bench"
	"crayon/internal/benchengine"
	"crayon/internal/device"
	"crayon/internal/gguf"
	"crayon/internal/pooltrain"
	"crayon/internal/store"
)

func (a *app) benchCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "bench", Short: "Measure what customisation is worth"})
	cmd.AddCommand(a.benchCustomizeCommand())
	return cmd
}

// benchOptions are the flags of bench customize.
type benchOptions struct {
	bench.Options
	data, raw, plot, single string
}

func (a *app) benchCustomizeCommand() *cobra.Command {
	o := benchOptions{Options: bench.DefaultOptions()}
	cmd := &cobra.Command{
		Use: "customize --data DIR", Aliases: []string{"customise"}, Short: "Score users made from question-answer data, by strategy",
		Long: "Makes users from the data sets in DIR, customises each from a few rows, and scores\nother rows by choice: " + strings.Join(bench.Strategies(), ", ") + ".\nIntervals are 95 %, by bootstrap over data sets, users and rows.",
		Args: args(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.data == "" {
				return usage(errors.New("no data folder is named"), cmd.CommandPath()+" --data DIR")
			}
			return a.bench(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", dataHelp)
	f.IntVar(&o.Users, "users", 0, "score at most this many users; 0: all")
	f.IntVar(&o.Rows, "rows", o.Rows, "score at most this many rows a user")
	f.IntVar(&o.Shots, "shots", o.Shots, "examples a user customises from")
	f.StringSliceVar(&o.Datasets, "datasets", nil, "only these data `SETS`, or SET/SUBJECT users")
	f.StringSliceVar(&o.Strategies, "strategies", nil, "only these `STRATEGIES`")
	f.Uint64Var(&o.Seed, "seed", o.Seed, "of the rows' order and the bootstrap")
	f.IntVar(&o.Resamples, "resamples", o.Resamples, "of the bootstrap")
	f.StringVar(&o.single, "single", "", "the rival for the strategy single: a GGUF adapter `FILE` from pool train --single")
	f.StringVar(&o.raw, "raw", "", "write each row's choices to `FILE` (JSON lines, gzip)")
	f.StringVar(&o.plot, "plot", "", "draw the figures to `FILE` (.png or .svg)")
	return cmd
}

func (a *app) bench(ctx context.Context, o benchOptions) error {
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
	if o.single != "" {
		rival, err := adapter.ReadGGUF(o.single, p.Base.Shape)
		if err != nil {
			return err
		}
		p.Baseline[pooltrain.SingleName] = rival
	}
	if o.Provenance, err = benchengine.Provenance(ctx, data, p); err != nil {
		return err
	}
	digest, err := gguf.Digest(model)
	if err != nil {
		return err
	}
	d, err := device.Open(ctx, model, p, device.Options{Threads: a.set.Threads, Digest: digest})
	if err != nil {
		return err
	}
	defer d.Close()
	a.warn(d.Warning)
	engine, err := benchengine.New(d)
	if err != nil {
		return err
	}
	o.Digests = map[string]string{"model": digest, "pool": p.Digest()}
	if o.single != "" {
		if o.Digests["single"], err = gguf.Digest(o.single); err != nil {
			return err
		}
	}
	show, done := a.progress()
	o.Progress = func(p bench.Progress) { show(fmt.Sprintf("%s, %s", p.User, p.Strategy), p.Done, p.Total) }
	report, records, err := bench.Run(ctx, data, engine, o.Options)
	done()
	if err != nil {
		return err
	}
	if o.raw != "" {
		if err := store.WriteFile(o.raw, func(w io.Writer) error { return bench.WriteRaw(w, records) }); err != nil {
			return err
		}
	}
	if o.plot != "" {
		format := strings.TrimPrefix(filepath.Ext(o.plot), ".")
		if err := store.WriteFile(o.plot, func(w io.Writer) error { return report.WritePlot(w, format) }); err != nil {
			return err
		}
	}
	return a.emit(report, func(w io.Writer) {
		if err := report.WriteText(w); err != nil {
			a.warn(err.Error())
		}
	})
}
