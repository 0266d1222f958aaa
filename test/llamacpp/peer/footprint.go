package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"crayon/internal/fault"
	"crayon/internal/kernel"
)

// Footprint is what Crayon takes of a machine beside speed, with the default
// model.
type Footprint struct {
	Memory   memory  `json:"memory"`  // of a fresh child after a prompt of Tokens tokens
	Allowed  int64   `json:"allowed"` // bytes: Weights + Cache + 80e6
	Tokens   int     `json:"tokens"`
	Weights  int64   `json:"weights"` // bytes in use: all packed weights once
	Cache    int64   `json:"cache"`   // bytes of the keys and values of Tokens positions in half precision
	Open     float64 `json:"open_seconds"`
	Examples string  `json:"examples"` // the file of 16 examples that took longest
	// Customize is `crayon customize --no-proof` as a process, from its start to
	// its end; CustomizeOpen the same with model and pool open, as in a server.
	Customize     float64 `json:"customize_seconds"`
	CustomizeOpen float64 `json:"customize_open_seconds"`
}

const (
	beside     = 80_000_000 // bytes allowed beside weights and cache
	customName = "peer"
)

// ready tells whether everything is there that the footprint needs.
func (r *race) ready() error {
	if _, err := r.files.model(smollm, SameFile); err != nil {
		return err
	}
	if _, err := os.Stat(r.Crayon); err != nil {
		return &fault.Error{Op: "find crayon", Path: r.Crayon, Err: err, Hint: "make build", Exit: fault.ExitUsage}
	}
	_, err := r.examples()
	return err
}

func (r *race) examples() ([]string, error) {
	files, err := filepath.Glob(filepath.Join(r.Examples, "*.csv"))
	if err == nil && len(files) == 0 {
		err = os.ErrNotExist
	}
	if err != nil {
		return nil, &fault.Error{Op: "find examples", Path: filepath.Join(r.Examples, "*.csv"), Err: err}
	}
	return files, nil
}

// footprint measures with no other child at work. Every time is the median of
// Repeats, after one that does not count.
func (r *race) footprint(ctx context.Context) (*Footprint, error) {
	model, err := r.files.model(smollm, SameFile)
	if err != nil {
		return nil, err
	}
	f := &Footprint{Tokens: prefill.Tokens}
	if err := r.resident(ctx, model, f); err != nil {
		return nil, err
	}
	home := filepath.Join(r.files.dir, "home")
	s := Setup{Engine: library, Model: model, Threads: r.Threads, Pool: r.Pool, Home: home}
	p, err := start(ctx, r.Command, s, r.Log)
	if err != nil {
		return nil, err
	}
	defer p.close()
	files, err := r.examples()
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		if file, err = filepath.Abs(file); err != nil {
			return nil, err
		}
		process, err := r.median(ctx, func() (float64, error) { return r.customize(ctx, model, home, file) })
		if err != nil {
			return nil, err
		}
		open, err := r.median(ctx, func() (float64, error) { return seconds(p.do(Work{Kind: Customize, Examples: file})) })
		if err != nil {
			return nil, err
		}
		if process > f.Customize {
			f.Customize, f.Examples = process, filepath.Base(file)
		}
		f.CustomizeOpen = max(f.CustomizeOpen, open)
	}
	return f, nil
}

// resident measures memory and opening, in a child that did nothing else.
func (r *race) resident(ctx context.Context, model string, f *Footprint) error {
	p, err := start(ctx, r.Command, Setup{Engine: Crayon, Model: model, Threads: r.Threads, Room: f.Tokens}, r.Log)
	if err != nil {
		return err
	}
	defer p.close()
	r.report.engine(p.ready.Engine)
	if _, err := p.do(Work{Kind: Prefill, Tokens: f.Tokens}); err != nil {
		return err
	}
	got, err := p.do(Work{Kind: Memory})
	if err != nil {
		return err
	}
	f.Memory, f.Weights, f.Cache = got.Memory, int64(p.ready.Size.Bytes), int64(f.Tokens*p.ready.Size.Cache)
	f.Allowed = f.Weights + f.Cache + beside
	f.Open, err = r.median(ctx, func() (float64, error) { return seconds(p.do(Work{Kind: Open})) })
	return err
}

func seconds(r result, err error) (float64, error) { return r.Seconds, err }

func (r *race) median(ctx context.Context, once func() (float64, error)) (float64, error) {
	var all []float64
	for i := range 1 + r.Repeats {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		s, err := once()
		if err != nil {
			return 0, err
		}
		if i > 0 {
			all = append(all, s)
		}
	}
	return quantile(all, 0.5), nil
}

// customize runs the program from start to end.
func (r *race) customize(ctx context.Context, model, home, examples string) (float64, error) {
	args := []string{"customize", customName, "--no-proof", "-f", examples, "--home", home, "--model", model, "--threads", fmt.Sprint(r.Threads)}
	if r.Pool != "" {
		args = append(args, "--pool", r.Pool)
	}
	cmd := exec.CommandContext(ctx, r.Crayon, args...)
	cmd.Env = ownEnvironment(os.Environ())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	begin := time.Now()
	err := cmd.Run()
	took := time.Since(begin).Seconds()
	if err != nil {
		return 0, &fault.Error{Op: "run crayon customize", Path: examples, Err: errors.Join(err, errors.New(strings.TrimSpace(stderr.String())))}
	}
	return took, nil
}

// ownEnvironment leaves out the user's settings of Crayon but the kernel level,
// so that every machine runs the same command.
func ownEnvironment(env []string) []string {
	var own []string
	for _, e := range env {
		if !strings.HasPrefix(e, "CRAYON_") || strings.HasPrefix(e, kernel.Variable+"=") {
			own = append(own, e)
		}
	}
	return own
}
