package customize

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/device"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/strategy"
	"crayon/internal/task"
)

// Query is one question under a customisation that is bound to a device.
type Query struct {
	d     *device.Device
	plan  *strategy.Plan
	task  strategy.Task
	row   strategy.Row
	ask   strategy.Ask
	Row   []float32   // of weights that answer it; nil: the base model
	Shots []task.Shot // worked examples to put before it
	done  func()
}

// Query readies the plan for a question with its direction, whose answer is one
// of choices; nil: one of the labels, if there are any. Choices that are not all
// among the labels are those of a task of another kind, whose prompt does not list
// the labels. Close it after use.
func (c *Customisation) Query(ctx context.Context, d *device.Device, question, context string, choices []string, direction []float32) (*Query, error) {
	d, err := c.On(d)
	if err != nil {
		return nil, err
	}
	bound, err := c.Bind(ctx, d)
	if err != nil {
		return nil, err
	}
	plan, err := c.Fitted(d.Pool)
	if err != nil {
		return nil, err
	}
	q := &Query{d: d, plan: plan, task: c.boundTask(), done: func() {}}
	switch {
	case choices == nil:
		choices = c.Labels
	case slices.ContainsFunc(choices, func(s string) bool { return !slices.Contains(c.Labels, s) }):
		q.task.Labels = nil
	}
	q.row = strategy.Row{Question: question, Context: context, Candidates: choices, Direction: direction, Gold: -1}
	q.ask = plan.Ask(d.Pool, q.task, q.row)
	q.Shots = q.ask.Shots
	if q.ask.Private == nil && !d.Elsewhere() && slices.Equal(q.ask.Members, plan.Members) {
		q.Row = bound
		return q, nil
	}
	held, err := d.Hold(ctx, q.ask.Private)
	if err != nil {
		return nil, err
	}
	if q.Row, err = held.Row(q.ask.Members); err != nil {
		held.Release()
		return nil, err
	}
	q.done = held.Release
	return q, nil
}

// Close ends the query's use of the device.
func (q *Query) Close() {
	if q != nil {
		q.done()
	}
}

// Labels are those that the question's prompt lists.
func (q *Query) Labels() []string { return q.task.Labels }

// Chooses says whether labels or choices are chosen by more than the model's own
// probability of them, which is to be asked by Choose.
func (q *Query) Chooses() bool { return chooses(q.plan, q.row) }

func chooses(plan *strategy.Plan, q strategy.Row) bool {
	return !plan.Plain() && len(q.Candidates) > 0
}

// Choose is the probability of each label, or choice.
func (q *Query) Choose(ctx context.Context) ([]float64, error) {
	probs, _, _, err := q.Weigh(ctx)
	return probs, err
}

// boundTask is the task, made once.
func (c *Customisation) boundTask() strategy.Task {
	b := c.bound
	if b == nil {
		return c.Task()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.task == nil {
		t := c.Task()
		b.task = &t
	}
	return *b.task
}

// Beside says where files of private adapters lie, by their digest.
func (c *Customisation) Beside(file func(digest string) string) { c.private = file }

// Fetch reads the private adapter that the plan names for a model of a shape,
// if there is one and it is not there yet. Bind does so too.
func (c *Customisation) Fetch(shape arch.Config) error {
	if c.Plan == nil || c.Plan.File == "" || c.Plan.Private != nil {
		return nil
	}
	fail := func(err error) error {
		return &fault.Error{Op: "load private adapter", Path: c.Name, Err: err, Hint: "crayon customize " + c.Name + " -f EXAMPLES", Exit: fault.ExitVerify}
	}
	if c.private == nil {
		return fail(errors.New("it is not known where it lies"))
	}
	path := c.private(c.Plan.File)
	digest, err := gguf.Digest(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fail(fmt.Errorf("the file of its private adapter is gone: %s", path))
	case err != nil:
		return err
	case digest != c.Plan.File:
		return fail(fmt.Errorf("%s is damaged: its sha256 is %.12s", path, digest))
	}
	a, err := adapter.ReadGGUF(path, shape)
	if err != nil {
		return fail(err)
	}
	c.Plan.Private = a
	return nil
}
