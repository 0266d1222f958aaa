package train

import (
	"context"
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
	c = c.withDefaults()
	if err := c.check(w.Config, examples); err != nil {
		return nil, err
	}
	s := &state{params: NewParams(w.Config, c)}
	s.moments = newMoments(len(s.params.Values))
	id := c.identity(w, examples)
	if c.Checkpoint != "" {
		if err := s.load(c.Checkpoint, id); err != nil {
			return nil, err
		}
	}
	tasks := make([]task, len(examples))
	for i, e := range examples {
		tasks[i] = newTask(c, s.params, e)
	}
	r := &run{config: c, id: id, state: s, tasks: tasks, steps: schedule(c, tasks)}
	if s.step > len(r.steps) {
		return nil, &fault.Error{Op: "read checkpoint", Path: c.Checkpoint, Err: fmt.Errorf("step %d of %d", s.step, len(r.steps))}
	}
	var err error
	if r.log, err = openJournal(c.Log, s.step); err != nil {
		return nil, err
	}
	defer r.log.close()
	r.model = w.Fuse(s.params.Stacked(), s.params.A, s.params.B)
	r.crew = newCrew(c, s.params, r.model)
	err = r.train(ctx)
	if c.Checkpoint != "" {
		if saved := s.save(c.Checkpoint, id); err == nil {
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
	return s.params, nil
}

// run is one call of Run under way.
type run struct {
	config Config
	id     identity
	state  *state
	tasks  []task
	steps  []step
	model  *reference.Linears
	crew   *crew
	log    *journal
}

func (r *run) train(ctx context.Context) error {
	c, s := r.config, r.state
	if n := len(r.log.records); s.step == len(r.steps) && n == s.step && c.Progress != nil {
		c.Progress(r.log.records[n-1].progress(n)) // all was done before: say so
	}
	began, saved := time.Now(), time.Now()
	left, done := 0, 0 // tokens
	for _, x := range r.steps[s.step:] {
		left += x.tokens
	}
	for s.step < len(r.steps) {
		x := r.steps[s.step]
		sum, err := r.crew.run(ctx, x, r.tasks)
		if err != nil {
			return r.stopped(ctx, err)
		}
		rate := c.rate(s.step, len(r.steps))
		norm := norm(c.Workers, r.crew.total)
		if math.IsNaN(norm+sum.loss) || math.IsInf(norm+sum.loss, 0) {
			return &fault.Error{Op: "train", Err: fmt.Errorf("step %d: the loss is %v and the gradient's norm %v", s.step+1, sum.loss, norm), Hint: "train with a lower learning rate"}
		}
		s.moments.update(c.Workers, s.step, rate, norm, s.params.Values, r.crew.total)
		r.refresh()
		s.step++
		left, done = left-x.tokens, done+x.tokens
		speed := float64(done) / time.Since(began).Seconds()
		p := Progress{
			Step: s.step, Steps: len(r.steps), Loss: sum.loss, RankAccuracy: float64(sum.right) / float64(sum.ranked),
			GradNorm: norm, LearningRate: rate, Tokens: x.tokens, Examples: x.examples,
			TokensPerSecond: speed, Left: time.Duration(float64(left) / speed * float64(time.Second)),
		}
		if err := r.log.add(p); err != nil {
			return err
		}
		if c.Progress != nil {
			c.Progress(p)
		}
		if c.Checkpoint != "" && time.Since(saved) > c.CheckpointEvery && s.step < len(r.steps) {
			if err := s.save(c.Checkpoint, r.id); err != nil {
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
	e := &fault.Error{Op: "train", Err: fmt.Errorf("stopped after step %d of %d: %w", r.state.step, len(r.steps), ctx.Err())}
	if r.config.Checkpoint != "" {
		e.Path, e.Hint = r.config.Checkpoint, "the same command goes on from there"
	}
	return e
}

// refresh carries the As over to the fused matrices.
func (r *run) refresh() {
	parallel(r.config.Workers, len(r.model.Layers), func(_, lo, hi int) {
		for l := lo; l < hi; l++ {
			for j := range r.model.Layers[l] {
				r.model.Layers[l][j].Refresh()
			}
		}
	})
}
