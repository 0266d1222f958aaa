package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"crayon"
	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/pool"
)

// edited is the JSON of what writes a changed pool.
type edited struct {
	Pool    string   `json:"pool"`
	Digest  string   `json:"digest"`
	Bytes   int      `json:"bytes"`
	Was     int      `json:"bytes_before"`
	Members []string `json:"members"`
	Changes []string `json:"changes,omitempty"`
	Share   float64  `json:"share,omitempty"`  // of the mean norm of the blended adapters, of one added
	Effect  float64  `json:"effect,omitempty"` // on a probe's logits, of one added
}

// saveEdited stores a changed pool and reports it; nothing is written over the
// pool it came from.
func (a *app) saveEdited(to string, was, now *crayon.Pool, e edited, text func(w io.Writer)) error {
	if was.Path() != "" {
		from, err1 := filepath.Abs(was.Path())
		out, err2 := filepath.Abs(to)
		if err := errors.Join(err1, err2); err != nil {
			return &fault.Error{Op: "write pool", Path: to, Err: err}
		}
		if from == out {
			return usage(fmt.Errorf("%s is the pool itself", to), "name another file: customisations belong to the pool they were made from")
		}
	}
	saved, err := now.Save(to)
	if err != nil {
		return err
	}
	e.Pool, e.Digest, e.Bytes, e.Was, e.Changes = to, saved.Digest(), saved.Size(), was.Size(), saved.Made.Changes
	for _, m := range saved.Members {
		e.Members = append(e.Members, m.Name)
	}
	return a.emit(e, func(w io.Writer) {
		text(w)
		fmt.Fprintf(w, "%s: %d adapters, rank %d in all, %s (before: %s)\n", to, len(saved.Members), saved.Rank(), humanize.Bytes(uint64(saved.Size())), humanize.Bytes(uint64(was.Size())))
		fmt.Fprintf(w, "Customisations belong to the pool they were made from: make them anew with --pool %s\n", to)
	})
}

func (a *app) poolRetireCommand() *cobra.Command {
	return &cobra.Command{
		Use: "retire NAME NEW", Short: "Write a pool without one of its adapters", Args: args(2, 2, "the NAME of an adapter and the NEW file"),
		Long: `Writes the pool that is set (--pool, or the one in the program) to the file NEW
without the blended adapter NAME. The others are not trained anew and keep every
bit; the weight it would have had goes to them.`,
		Example: "  crayon pool retire pink smaller.crayon",
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.pool()
			if err != nil {
				return err
			}
			now, err := p.Retire(args[0], time.Now())
			if err != nil {
				return err
			}
			return a.saveEdited(args[1], p, now, edited{}, func(w io.Writer) { fmt.Fprintf(w, "retired    %s\n", args[0]) })
		},
	}
}

func (a *app) poolAddCommand() *cobra.Command {
	var path, name, file, licence string
	var covers []string
	cmd := &cobra.Command{
		Use: "add NEW --adapter PATH --name NAME -f EXAMPLES", Short: "Write a pool with one more adapter", Args: args(1, 1, "the NEW file"),
		Long: `Writes the pool that is set (--pool, or the one in the program) to the file NEW
with one more blended adapter: a PEFT folder or a GGUF LoRA file for the same base
model. What it is for is said by an example file (as for crayon customize): the
mean place of its questions is the adapter's indicator, so that questions like them
get its weight. The other adapters are not trained anew and keep every bit.`,
		Example: "  crayon pool add bigger.crayon --adapter ./my-lora --name legal -f legal.csv --licence MIT",
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, x := range []struct{ flag, value string }{{"--adapter PATH", path}, {"--name NAME", name}, {"-f EXAMPLES", file}} {
				if x.value == "" {
					return usage(fmt.Errorf("%s is missing", x.flag), cmd.UseLine())
				}
			}
			p, err := a.pool()
			if err != nil {
				return err
			}
			set, err := crayon.ReadExamples(file)
			if err != nil {
				return err
			}
			x := pool.Expert{Name: name, Source: filepath.Base(path), Licence: licence, Covers: covers}
			if len(x.Covers) == 0 {
				x.Covers = []string{strings.ReplaceAll(strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)), ",", " ")}
			}
			now, effect, err := a.addExpert(cmd.Context(), p, x, path, set)
			if err != nil {
				return err
			}
			h, err := now.Health()
			if err != nil {
				return err
			}
			m := h.Members[len(h.Members)-1]
			return a.saveEdited(args[0], p, now, edited{Share: m.Share, Effect: effect}, func(w io.Writer) {
				fmt.Fprintf(w, "added      %s, rank %d, licence %s: its norm is %.2f of the mean, it moves a probe's logits by %.3f\n", name, m.Rank, licence, m.Share, effect)
				fmt.Fprintf(w, "           its indicator is the mean of %d examples; the nearest other one has cosine %.2f with it\n", m.Examples, m.Nearest)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&path, "adapter", "", "the adapter, a PEFT `FOLDER` or a GGUF LoRA file")
	f.StringVar(&name, "name", "", "what it is called in the pool")
	f.StringVarP(&file, "file", "f", "", "an example `FILE` of what it is for")
	f.StringVar(&licence, "licence", "unstated", "the licence of the adapter and its data")
	f.StringSliceVar(&covers, "covers", nil, "what it covers, as `a,b`; the name of the example file if left out")
	return cmd
}

// addExpert gives a pool the adapter at path, for what the examples are like,
// and tries what it does.
func (a *app) addExpert(ctx context.Context, p *crayon.Pool, x pool.Expert, path string, set *crayon.Examples) (*crayon.Pool, float64, error) {
	model, err := a.modelPath()
	if err != nil {
		return nil, 0, err
	}
	opt := device.Options{Threads: a.set.Threads}
	d, err := device.Open(ctx, model, p, opt)
	if err != nil {
		return nil, 0, err
	}
	defer d.Close()
	if x.Adapter, err = device.ReadAdapter(path, d.Model.Config); err != nil {
		return nil, 0, &fault.Error{Op: "add adapter", Path: path, Err: err, Hint: "a PEFT folder (adapter_config.json, adapter_model.safetensors) or a GGUF LoRA file of " + p.Base.Name, Exit: fault.ExitVerify}
	}
	questions := make([]string, len(set.Examples))
	for i, e := range set.Examples {
		questions[i] = e.Question
	}
	if x.Directions, err = d.Directions(ctx, questions); err != nil {
		return nil, 0, &fault.Error{Op: "add adapter", Path: set.Source, Err: err}
	}
	now, err := p.Add(x, time.Now())
	if err != nil {
		return nil, 0, err
	}
	with, err := device.Open(ctx, model, now, opt)
	if err != nil {
		return nil, 0, err
	}
	defer with.Close()
	w := make([]float32, len(now.Members))
	w[len(w)-1] = 1
	effect, err := with.Effect(ctx, with.Row(w))
	if err == nil && (!(effect >= device.LeastEffect) || math.IsInf(effect, 0)) {
		err = &fault.Error{Op: "add adapter", Path: path, Err: fmt.Errorf("it changes nothing on this model, or breaks it (probe moved by %.2g)", effect), Exit: fault.ExitVerify, Hint: "is it trained, and for this very model?"}
	}
	return now, effect, err
}

func (a *app) poolStripCommand() *cobra.Command {
	var apart string
	var keep []string
	cmd := &cobra.Command{
		Use: "strip NEW", Short: "Write a pool without the benchmark's baselines", Args: args(1, 1, "the NEW file"),
		Long: `Writes the pool that is set (--pool, or the one in the program) to the file NEW
without its baselines, the single adapters that the benchmark compares with.
--baselines writes those to a file of their own first.`,
		Example: "  crayon pool strip small.crayon --pool trained.crayon --baselines rivals.gguf",
		RunE: func(_ *cobra.Command, args []string) error {
			p, err := a.pool()
			if err != nil {
				return err
			}
			sizes := p.BaselineSizes()
			if apart != "" && len(sizes) == 0 {
				return usage(fmt.Errorf("the pool %s has no baselines", p.Name), "leave --baselines out")
			}
			now, err := p.Strip(keep...)
			if err != nil {
				return err
			}
			if apart != "" {
				if _, err := p.Baselines().Write(apart, gguf.F16); err != nil {
					return err
				}
			}
			return a.saveEdited(args[0], p, now, edited{}, func(w io.Writer) {
				t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
				for _, b := range sizes {
					what := "left out"
					if now.Baseline[b.Name] != nil {
						what = "kept"
					}
					fmt.Fprintf(t, "%s\trank %d\t%s\t%s\n", b.Name, b.Rank, humanize.Bytes(uint64(b.Bytes)), what)
				}
				t.Flush()
				if apart != "" {
					fmt.Fprintf(w, "%s: %d baselines\n", apart, len(sizes))
				}
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&apart, "baselines", "", "write the baselines to a `FILE` of their own")
	f.StringSliceVar(&keep, "keep", nil, "baselines to keep, as `a,b`")
	return cmd
}
