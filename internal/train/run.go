package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"crayon/internal/fault"
	"crayon/internal/reference"
)

// Run trains adapters on the examples beside the frozen weights w. The result
// for a seed is the same, to the bit, for any number of workers and for any
// stops in between (on one kernel level). When ctx ends it writes the
// checkpoint, as of the last whole step, and returns ctx's error.
//
// Beside w it keeps a second copy of the linear layers, five values a
// parameter, and about 0.8 GB a worker at 1024 tokens of a 135M model.
func Run(ctx context.Context, c Config, w *reference.Weights, examples []Example) (*Params, error) {
	return RunOn(ctx, c, w, examples, CPU(w))
}

// RunOn is Run on another backend: the same examples in the same steps, and
// the same files beside it.
func RunOn(ctx context.Context, c Config, w *reference.Weights, examples []Example, open Open) (*Params, error) {
	c = c.withDefaults()
	if err := c.check(w.Config, examples); err != nil {
		return nil, err
	}
	s := newState(NewParams(w.Config, c))
	id := c.identity(w, examples)
	step := 0
	if c.Checkpoint != "" {
		var err error
		if step, err = s.load(c.Checkpoint, id); err != nil {
			return nil, err
		}
	}
	tasks := make([]Task, len(examples))
	for i, e := range examples {
		tasks[i] = newTask(c, s.Params, e)
	}
	r := &run{plan: &Plan{Config: c, Tasks: tasks, Steps: schedule(c, tasks)}, id: id, state: s, step: step}
	if step > len(r.plan.Steps) {
		return nil, &fault.Error{Op: "read checkpoint", Path: c.Checkpoint, Err: fmt.Errorf("step %d of %d", step, len(r.plan.Steps))}
	}
	var err error
	if r.log, err = openJournal(c.Log, step); err != nil {
		return nil, err
	}
	defer r.log.close()
	if r.backend, err = open(r.plan, s); err != nil {
		return nil, err
	}
	defer r.backend.Close()
	err = r.train(ctx)
	if saved := r.backend.Save(s); saved != nil {
		return nil, errors.Join(err, saved)
	}
	if c.Checkpoint != "" {
		if saved := s.save(c.Checkpoint, id, r.step); err == nil {
			err = saved
		}
	}
	if c.Plot != "" && len(r.log.records) > 0 {
		if drawn := r.log.plot(c.Plot); err == nil {
			err = drawn
		}
	}
	if err != nil {
		return nil, err
	}
	return s.Params, nil
}

// run is one call of Run under way.
type run struct {
	plan    *Plan
	id      identity
	state   *State
	step    int // steps done
	backend Backend
	log     *journal
}

func (r *run) train(ctx context.Context) error {
	c, steps := r.plan.Config, r.plan.Steps
	if n := len(r.log.records); r.step == len(steps) && n == r.step && c.Progress != nil {
		c.Progress(r.log.records[n-1].progress(n)) // all was done before: say so
	}
	began, saved := time.Now(), time.Now()
	left, done, examples := 0, 0, 0 // tokens, tokens, examples
	for _, x := range steps[r.step:] {
		left += x.Tokens
	}
	for r.step < len(steps) {
		x := steps[r.step]
		sum, norm, err := r.backend.Gradient(ctx, r.step)
		if err != nil {
			return r.stopped(ctx, err)
		}
		rate := c.rate(r.step, len(steps))
		if math.IsNaN(norm+sum.Loss) || math.IsInf(norm+sum.Loss, 0) {
			return &fault.Error{Op: "train", Err: fmt.Errorf("step %d: the loss is %v and the gradient's norm %v", r.step+1, sum.Loss, norm), Hint: "train with a lower learning rate"}
		}
		if err := r.backend.Update(r.step, rate, norm); err != nil {
			return err
		}
		r.step++
		left, done, examples = left-x.Tokens, done+x.Tokens, examples+x.Examples
		seconds := time.Since(began).Seconds()
		speed := float64(done) / seconds
		p := Progress{
			Step: r.step, Steps: len(steps), Loss: sum.Loss, RankAccuracy: float64(sum.Right) / float64(sum.Ranked),
			GradNorm: norm, LearningRate: rate, Tokens: x.Tokens, Examples: x.Examples,
			TokensPerSecond: speed, ExamplesPerSecond: float64(examples) / seconds, Left: time.Duration(float64(left) / speed * float64(time.Second)),
		}
		if err := r.log.add(p); err != nil {
			return err
		}
		if c.Progress != nil {
			c.Progress(p)
		}
		if c.Checkpoint != "" && time.Since(saved) > c.CheckpointEvery && r.step < len(steps) {
			if err := r.checkpoint(); err != nil {
				return err
			}
			saved = time.Now()
		}
	}
	return nil
}

// stopped says where a cancelled run can go on.
func (r *run) stopped(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	e := &fault.Error{Op: "train", Err: fmt.Errorf("stopped after step %d of %d: %w", r.step, len(r.plan.Steps), ctx.Err())}
	if r.plan.Config.Checkpoint != "" {
		e.Path, e.Hint = r.plan.Config.Checkpoint, "the same command goes on from there"
	}
	return e
}

// checkpoint writes the state as it is.
func (r *run) checkpoint() error {
	if err := r.backend.Save(r.state); err != nil {
		return err
	}
	return r.state.save(r.plan.Config.Checkpoint, r.id, r.step)
}
