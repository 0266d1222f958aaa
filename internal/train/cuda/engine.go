//go:build linux && (amd64 || arm64)

package cuda

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"crayon/internal/accel"
	"crayon/internal/arch"
	nv "crayon/internal/cuda"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/reference"
	"crayon/internal/train"
)

// Options says how to use the GPUs. The zero value is one process alone.
type Options struct {
	// BatchTokens bounds what is computed at a time; default 32768. Memory
	// bounds it as well. It moves results by rounding alone.
	BatchTokens int
	// First is the number of the first GPU to use.
	First int
	// Processes train together, each with as many GPUs; 0 or 1: this one alone.
	// Process is this one's number from 0, and ID what rank 0's NewID made.
	Processes, Process int
	ID                 []byte
}

const defaultBatchTokens = 32768

// New is the accelerator of this machine's NVIDIA GPUs.
func New(o Options) accel.Accelerator { return accelerator{o} }

// NewID makes what joins several processes.
func NewID() ([]byte, error) {
	d, err := nv.Load()
	if err != nil {
		return nil, err
	}
	return nv.UniqueID(d)
}

type accelerator struct{ options Options }

// Open implements accel.Accelerator.
func (a accelerator) Open(ctx context.Context, path string, devices int) (accel.Engine, error) {
	w, err := read(path)
	if err != nil {
		return nil, err
	}
	return open(a.options, w, max(devices, 1))
}

// read loads a model's weights at full precision.
func read(path string) (*reference.Weights, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c, err := arch.FromGGUF(f)
	if err != nil {
		return nil, err
	}
	return reference.Load(f, c)
}

// engine is the model on the devices of this process.
type engine struct {
	weights  *reference.Weights
	replicas []*replica
	budget   int
	profile  io.Writer // where a training says what its kernels took; nil: it does not
}

func open(o Options, w *reference.Weights, devices int) (*engine, error) {
	d, err := nv.Load()
	if err != nil {
		return nil, err
	}
	e := &engine{weights: w, budget: o.BatchTokens, profile: profileTo()}
	if e.budget <= 0 {
		e.budget = defaultBatchTokens
	}
	for i := range devices {
		r, err := start(d, o.First+i, w.Config)
		if err != nil {
			return nil, errors.Join(err, e.Close())
		}
		e.replicas = append(e.replicas, r)
	}
	world := max(o.Processes, 1) * devices
	id := o.ID
	if world > 1 && o.Processes <= 1 {
		if id, err = nv.UniqueID(d); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	err = e.each(func(i int, r *replica) error {
		r.world, r.rank = world, o.Process*devices+i
		if world > 1 {
			if r.comm, err = r.device.Join(id, r.rank, world); err != nil {
				return err
			}
		}
		return r.load(w)
	})
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// each runs f for all replicas at once, each on its own thread.
func (e *engine) each(f func(i int, r *replica) error) error {
	errs := make([]error, len(e.replicas))
	var wait sync.WaitGroup
	for i, r := range e.replicas {
		wait.Go(func() { errs[i] = r.do(func() error { return f(i, r) }) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// Name implements accel.Engine.
func (e *engine) Name() string {
	r := e.replicas[0]
	if r.world == 1 {
		return r.device.Name
	}
	return fmt.Sprintf("%s x %d", r.device.Name, r.world)
}

// Train implements accel.Engine.
func (e *engine) Train(ctx context.Context, c train.Config, examples []train.Example) (*train.Params, error) {
	return train.RunOn(ctx, c, e.weights, examples, e.open)
}

// Close implements accel.Engine.
func (e *engine) Close() error {
	var errs []error
	for _, r := range e.replicas {
		errs = append(errs, r.Close())
	}
	e.replicas = nil
	return errors.Join(errs...)
}

func bad(op string, format string, args ...any) error {
	return &fault.Error{Op: op, Err: fmt.Errorf(format, args...), Exit: fault.ExitVerify}
}
