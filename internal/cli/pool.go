package cli

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"crayon"
	"crayon/internal/accel"
	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/doctor"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/pooltrain"
	"crayon/internal/view"
)

func (a *app) poolCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "pool", Short: "The pool of adapters: train one, see what one is made of, verify it, change it"})
	cmd.AddCommand(a.poolTrainCommand(), a.poolSurveyCommand(), a.poolInfoCommand(), a.poolVerifyCommand(), a.poolServeCommand(), a.poolAddCommand(), a.poolRetireCommand(), a.poolStripCommand())
	return cmd
}

// poolAt is the pool of a file argument, else the one that is set.
func (a *app) poolAt(args []string) (*crayon.Pool, error) {
	if len(args) == 0 {
		return a.pool()
	}
	return crayon.OpenPool(args[0])
}

func (a *app) poolVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "verify [FILE]", Short: "Check every invariant of a pool, and that each adapter does something", Args: args(0, 1, "a pool FILE at most"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.poolAt(args)
			if err != nil {
				return err
			}
			if _, err := a.settings(); err != nil {
				return err
			}
			model, err := a.modelPath()
			if err != nil {
				model = "" // what needs no model is verified all the same
			}
			r := doctor.Pool(cmd.Context(), p, model, a.set.Threads)
			if err := a.emit(r, func(w io.Writer) { r.WriteText(w, a.style()) }); err != nil {
				return err
			}
			return r.Err("verify pool")
		},
	}
}

func (a *app) poolTrainCommand() *cobra.Command {
	var data []string
	var recipe, single, rivals string
	var workers, fold int
	var permissive bool
	var device devices
	cmd := &cobra.Command{
		Use: "train POOL --data DIR", Short: "Train a pool from question-answer data, on this machine",
		Long: `Trains the adapters of a pool jointly and writes them with their indicators to the
file POOL. Beside it lie, while it runs, a checkpoint from which an interrupted
training goes on, a log and the loss curve. --device cuda trains on NVIDIA GPUs.`,
		Example: "  crayon pool train mine.crayon --data qa --recipe recipe.yaml",
		Args:    args(1, 1, "the POOL file to write"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.hand(device); err != nil {
				return err
			}
			r, err := pooltrain.ParseRecipe([]byte("name: pool\n"))
			if recipe != "" {
				r, err = pooltrain.ReadRecipe(recipe)
			}
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("fold") {
				if err := r.Rows.LeaveOut(fold); err != nil {
					return usage(err, "crayon pool train --help")
				}
			}
			r.Rows.PermissiveOnly = r.Rows.PermissiveOnly || permissive
			if len(data)+len(r.Sources) == 0 {
				return usage(errors.New("no data is named, neither here nor in the recipe"), cmd.CommandPath()+" "+args[0]+" --data DIR")
			}
			model, err := a.modelPath()
			if err != nil {
				return err
			}
			text, err := json.Marshal(r)
			if err != nil {
				return err
			}
			same := map[string]string{"recipe": fmt.Sprintf("%x", sha256.Sum256(text)), "command": strings.Join(path(cmd), " "), "output": args[0] + single}
			engine, err := a.engine(cmd.Context(), device, model, same)
			if err != nil {
				return err
			}
			if engine != nil {
				defer engine.Close()
			}
			if f, ok := engine.(accel.Follower); ok {
				return f.Follow(cmd.Context())
			}
			rows, err := a.openData(cmd.Context(), data, r.Sources)
			if err != nil {
				return err
			}
			show, done := a.progress()
			if workers == 0 {
				workers = a.set.Threads
			}
			if workers == 0 {
				workers = runtime.GOMAXPROCS(0)
			}
			opt := pooltrain.Options{
				Model: model, ModelName: nameOf(a.set.Model), Data: rows, Recipe: r, Out: args[0], Workers: workers,
				Progress:    func(s pooltrain.Stage) { show(stageText(s), s.Done, max(s.Total, 1)) },
				Accelerator: engine, Rivals: rivals,
			}
			if single != "" {
				opt.Out = single
				rival, err := pooltrain.Single(cmd.Context(), opt)
				done()
				if err != nil {
					return err
				}
				return a.writeRival(model, single, rival)
			}
			p, err := pooltrain.Run(cmd.Context(), opt)
			done()
			if err != nil {
				return err
			}
			st, err := os.Stat(args[0])
			if err != nil {
				return &fault.Error{Op: "train pool", Path: args[0], Err: err}
			}
			result := map[string]any{"pool": args[0], "digest": p.Digest(), "bytes": st.Size(), "examples": p.Made.Examples, "steps": p.Made.Steps, "loss": p.Made.Loss, "seconds": p.Made.Seconds}
			return a.emit(result, func(w io.Writer) { view.Pool(w, a.style(), p) })
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&data, "data", nil, dataHelp+"; may be given several times")
	f.StringVar(&recipe, "recipe", "", "the recipe, a YAML `FILE`; docs/pool.md lists its keys")
	f.StringVar(&single, "single", "", "train only the benchmark's rival, one adapter of the recipe's single_rank, to the GGUF `FILE`")
	f.StringVar(&rivals, "rivals", "", "also train the recipe's rivals, for the benchmark, to `FILE`")
	f.IntVar(&fold, "fold", 0, "leave out the data sets of fold `K`, 1 to 5 (docs/data.md), so that they can be scored as new ones")
	f.BoolVar(&permissive, "permissive-only", false, "leave out data whose licence is share-alike, unstated or unknown")
	f.IntVar(&workers, "workers", 0, "trees of examples at once; 0: as many as --threads")
	deviceFlag(f, &device)
	return cmd
}

// nameOf is the alias of a model, or of a path the file's name alone: paths of a
// machine are nobody's business who gets the pool.
func nameOf(model string) string {
	return strings.TrimSuffix(filepath.Base(model), ".gguf")
}

// writeRival stores the benchmark's rival as a GGUF adapter.
func (a *app) writeRival(model, path string, rival *adapter.Adapter) error {
	f, err := gguf.Open(model)
	if err != nil {
		return err
	}
	defer f.Close()
	c, err := arch.FromGGUF(f)
	if err != nil {
		return err
	}
	if err := adapter.WriteGGUFAs(path, rival, c, gguf.F16); err != nil {
		return err
	}
	return a.emit(map[string]any{"adapter": path, "rank": rival.Rank()}, func(w io.Writer) {
		fmt.Fprintf(w, "%s: one adapter of rank %d\n", path, rival.Rank())
	})
}

func stageText(s pooltrain.Stage) string {
	p := s.Step
	if p == nil {
		return s.Name
	}
	right := ""
	if !math.IsNaN(p.RankAccuracy) {
		right = fmt.Sprintf(", %.0f %% right", 100*p.RankAccuracy)
	}
	return fmt.Sprintf("%s, loss %.3f%s, %.0f tokens/s, %s left", s.Name, p.Loss, right, p.TokensPerSecond, p.Left.Round(time.Second))
}
