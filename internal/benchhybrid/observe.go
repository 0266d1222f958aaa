package benchhybrid

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"crayon/internal/bench"
	"crayon/internal/fault"
	"crayon/internal/qa"
	"crayon/internal/route"
	"crayon/internal/strategy"
)

// Device is the device LLM with its pool, as it is observed.
type Device interface {
	bench.Engine

	// Tokens is how many tokens a text has.
	Tokens(text string) int
}

// drafter is a device that also drafts.
type drafter interface {
	Draft(ctx context.Context, asks []strategy.Ask, tokens int) (probs [][]float64, ended []bool, err error)
}

// ObserveOptions says what to observe.
type ObserveOptions struct {
	bench.Selection                   // Rows is not read
	Queries         int               // a user, in all
	Shots           int               // examples a user customises from
	Strategy        string            // that is fitted: chosen, or one of the registry
	Prior           *strategy.Prior   // nil: the program's own
	Draft           bool              // also draft the greedy answer's first tokens
	Folder          string            // keeps parts
	Provenance      bench.Provenance  // what the pool was trained on
	Digests         map[string]string // sha256: model, pool, prior
	Device          string            // the accelerator, in words; "" for the processor
	Memory          *bench.Memory     // what the model said before; nil: none
	Progress        func(user string, done, total int)
}

// DefaultObserve are 50 queries a user, and the product's own choice from 16
// examples.
func DefaultObserve() ObserveOptions {
	return ObserveOptions{Selection: bench.Selection{Seed: 1}, Queries: 50, Shots: 16, Strategy: strategy.Chosen}
}

func (o *ObserveOptions) validate() error {
	fail := func(err error) error {
		return &fault.Error{Op: "check benchmark options", Err: err, Exit: fault.ExitUsage}
	}
	switch {
	case o.Queries < 2 || o.Queries > 1<<16:
		return fail(fmt.Errorf("rows is %d, not 2 or more", o.Queries))
	case o.Shots < 1 || o.Shots > bench.MaxExamples:
		return fail(fmt.Errorf("shots is %d, not 1 to %d", o.Shots, bench.MaxExamples))
	case o.Folder == "":
		return fail(errors.New("no folder"))
	}
	_, err := strategy.Get(o.Strategy)
	return err
}

// Run names what all parts that are judged together share: what was asked of
// which model, whatever the pool.
func (o *ObserveOptions) Run() (string, error) {
	return digestOf(map[string]any{"version": 1, "seed": o.Seed, "queries": o.Queries, "shots": o.Shots, "strategy": o.Strategy, "draft": o.Draft, "model": o.Digests["model"]})
}

func digestOf(v any) (string, error) {
	text, err := json.Marshal(v)
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:]), err
}

// Observe asks the device about every selected user's stream and keeps a part
// for each, but for those that the folder has. It returns how many users it
// observed now, and notes on what was left out.
func Observe(ctx context.Context, d *qa.Data, dev Device, o ObserveOptions) (fresh int, notes []string, err error) {
	if err := o.validate(); err != nil {
		return 0, nil, err
	}
	sel := o.Selection
	sel.Rows = ownRows(o.Queries)
	people, err := bench.Users(ctx, d, sel, o.Provenance)
	if err != nil {
		return 0, nil, err
	}
	run, err := o.Run()
	if err != nil {
		return 0, nil, err
	}
	b := &observer{device: dev, engine: bench.Remember(dev, o.Memory), opt: o, run: run}
	for i, u := range people.Users {
		if o.Progress != nil {
			o.Progress(u.Name, i, len(people.Users))
		}
		queries := stream(people, u, o.Queries, o.Seed)
		key, err := b.key(u, queries)
		if err != nil {
			return fresh, nil, err
		}
		if _, err := os.Stat(partPath(o.Folder, key)); err == nil {
			if _, err := readPart(partPath(o.Folder, key)); err != nil {
				return fresh, nil, err
			}
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fresh, nil, &fault.Error{Op: "read observations", Path: filepath.Base(partPath(o.Folder, key)), Err: err}
		}
		p, err := b.user(ctx, u, queries)
		if err != nil {
			return fresh, nil, err
		}
		if err := b.engine.Forget(); err != nil {
			return fresh, nil, err
		}
		p.Key, p.Run = key, run
		if err := p.write(o.Folder); err != nil {
			return fresh, nil, err
		}
		fresh++
	}
	if o.Progress != nil {
		o.Progress("", len(people.Users), len(people.Users))
	}
	return fresh, people.Notes, nil
}

// observer is an observation in work.
type observer struct {
	device Device
	engine *bench.Remembered
	opt    ObserveOptions
	run    string
}

// key of a part: what decides it.
func (b *observer) key(u *bench.User, queries []query) (string, error) {
	var rows []string
	add := func(r *qa.Row) {
		content := r.Content()
		rows = append(rows, r.ID, hex.EncodeToString(content[:]), r.Gold())
	}
	examples := u.Examples(b.opt.Shots, 0)
	for i := range examples {
		add(&examples[i])
	}
	for i := range queries {
		add(&queries[i].row)
		rows = append(rows, fmt.Sprint(queries[i].own))
	}
	return digestOf(map[string]any{"run": b.run, "digests": b.opt.Digests, "device": b.opt.Device, "user": u.Name, "group": u.Group, "rows": rows})
}

// user observes one user's stream.
func (b *observer) user(ctx context.Context, u *bench.User, queries []query) (*Part, error) {
	in := b.engine.Pool()
	p := &Part{Digests: b.opt.Digests, Device: b.opt.Device, User: u.Name, Dataset: u.Dataset, Family: u.Family, Group: u.Group, Fold: u.Fold,
		Labels: u.Labels, Tau: float64(in.Feature.Tau)}
	examples := u.Examples(b.opt.Shots, 0)
	t := strategy.Task{Labels: u.Labels, Prior: b.opt.Prior}
	var err error
	if t.Rows, err = b.rows(ctx, examples); err != nil {
		return nil, err
	}
	for i := range examples {
		t.Rows[i].Gold = examples[i].Answer
		p.Examples = append(p.Examples, Example{examples[i].Question, examples[i].Context, examples[i].Choices, examples[i].Answer, t.Rows[i].Direction})
	}
	asked := make([]qa.Row, len(queries))
	for i := range queries {
		asked[i] = queries[i].row
	}
	rows, err := b.rows(ctx, asked)
	if err != nil {
		return nil, err
	}
	for i, q := range queries {
		r := &q.row
		o := Observed{ID: r.ID, Dataset: r.Dataset, Family: q.family, Own: q.own, Question: r.Question, Context: r.Context, Choices: r.Choices, Answer: r.Answer,
			Tokens: b.device.Tokens(r.Question), Direction: rows[i].Direction, Similarity: in.Similarity(rows[i].Direction),
			Scores: map[string][]float64{}, Seconds: map[string]float64{}}
		if r.Context != "" {
			o.ContextTokens = b.device.Tokens(r.Context)
		}
		p.Queries = append(p.Queries, o)
	}
	for _, way := range [][2]string{{Base, "base"}, {Shared, "shared"}, {Blend, "blend"}, {Custom, b.opt.Strategy}} {
		if err := b.way(ctx, way[0], way[1], t, rows, p); err != nil {
			return nil, &fault.Error{Op: "observe " + way[0] + " of", Path: u.Name, Err: err}
		}
	}
	return p, nil
}

// rows are data rows as strategies see them, without golds.
func (b *observer) rows(ctx context.Context, from []qa.Row) ([]strategy.Row, error) {
	questions := make([]string, len(from))
	for i := range from {
		questions[i] = from[i].Question
	}
	directions, err := b.engine.Directions(ctx, questions)
	if err != nil {
		return nil, err
	}
	out := make([]strategy.Row, len(from))
	for i := range from {
		out[i] = strategy.Row{Question: from[i].Question, Context: from[i].Context, Candidates: from[i].Choices, Gold: -1, Direction: directions[i]}
	}
	return out, nil
}

// way observes one way of answering.
func (b *observer) way(ctx context.Context, way, name string, t strategy.Task, rows []strategy.Row, p *Part) error {
	s, err := strategy.Get(name)
	if err != nil {
		return err
	}
	var plan *strategy.Plan
	fit, _, err := b.engine.Cost(func() error {
		plan, err = s.Fit(ctx, b.engine.Engine, t)
		return err
	})
	if err != nil {
		return err
	}
	if way == Custom {
		p.Strategy, p.Fit = plan.Strategy, fit
		for _, r := range plan.Rated {
			if r.Strategy == plan.Strategy {
				p.Proof, p.Proven = r.Rows, r.Accuracy*float64(r.Rows)
			}
		}
		members := strategy.Blend(b.engine.Pool(), t)
		for _, i := range b.engine.Pool().Blended() {
			p.Blend = append(p.Blend, members[i])
		}
	}
	// A query that is not of the user's task has choices of its own, and a prompt
	// that does not list the user's labels.
	plain := t
	plain.Labels = nil
	for _, part := range []struct {
		task strategy.Task
		own  bool
	}{{t, true}, {plain, false}} {
		var at []int
		var some []strategy.Row
		for i := range rows {
			if p.Queries[i].Own == part.own {
				at, some = append(at, i), append(some, rows[i])
			}
		}
		if len(some) == 0 {
			continue
		}
		if err := b.score(ctx, way, plan, part.task, some, at, p); err != nil {
			return err
		}
	}
	return nil
}

// score observes rows, which stand at places of the part, under a plan.
func (b *observer) score(ctx context.Context, way string, plan *strategy.Plan, t strategy.Task, rows []strategy.Row, at []int, p *Part) error {
	var scores [][]float64
	seconds, _, err := b.engine.Cost(func() (err error) {
		scores, err = plan.Scores(ctx, b.engine.Engine, t, rows)
		return err
	})
	if err != nil {
		return err
	}
	for k, i := range at {
		q := &p.Queries[i]
		q.Scores[way], q.Seconds[way] = scores[k], seconds/float64(len(rows))
		if way != Custom {
			continue
		}
		// Its asks were answered above, so this takes no pass.
		_, others, table, err := plan.Overhear(ctx, b.engine.Engine, t, rows[k])
		if err != nil {
			return err
		}
		q.Others, q.Features, q.Table = others, table.Features, table.X
	}
	if way != Custom || !b.opt.Draft {
		return nil
	}
	d, ok := b.device.(drafter)
	if !ok {
		return &fault.Error{Op: "draft", Err: errors.New("this device does not"), Exit: fault.ExitUsage, Hint: "run on the processor, or leave --draft out"}
	}
	asks := make([]strategy.Ask, len(rows))
	for k := range rows {
		asks[k] = plan.Ask(b.engine.Pool(), t, rows[k])
	}
	probs, ended, err := d.Draft(ctx, asks, route.DraftTokens)
	if err != nil {
		return err
	}
	for k, i := range at {
		q := &p.Queries[i]
		q.Drafted, q.Draft, q.Ended = true, probs[k], ended[k]
	}
	return nil
}
