package customize

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/fault"
	"crayon/internal/pool"
	"crayon/internal/strategy"
	"crayon/internal/strategy/deviceengine"
)

// Method is how a plan was come to, so that a proof can repeat all of it.
type Method struct {
	Strategy string  `json:"strategy,omitempty"` // "": the instant one; "chosen": by left-out examples
	Budget   float64 `json:"budget,omitempty"`   // seconds that choosing had
}

// Task is the customisation's own, for strategies to be fitted to and scored by.
func (c *Customisation) Task() strategy.Task { return c.taskOf(c.all(), c.Labels) }

// all are the indices of the examples.
func (c *Customisation) all() []int {
	rows := make([]int, len(c.Examples))
	for i := range rows {
		rows[i] = i
	}
	return rows
}

// taskOf is the task that some of the examples make.
func (c *Customisation) taskOf(rows []int, labels []string) strategy.Task {
	t := strategy.Task{Labels: labels, Writes: c.writes(labels), Keep: c.Keep, Budget: time.Duration(c.Method.Budget * float64(time.Second))}
	if c.Keep == 0 {
		t.Keep = -1 // of a customisation 0 is all
	}
	c.Remote.restrict(&t)
	for _, i := range rows {
		e := &c.Examples[i]
		r := strategy.Row{Question: e.Question, Context: e.Context, Direction: e.Direction, Gold: -1, Candidates: c.candidates(i, rows, labels)}
		if e.Labelled {
			r.Gold = slices.Index(r.Candidates, e.Answer)
		}
		t.Rows = append(t.Rows, r)
	}
	return t
}

// writes says whether answers are written: there are no labels, and not every
// example has choices of its own, which its like will be asked with.
func (c *Customisation) writes(labels []string) bool {
	return len(labels) == 0 && slices.ContainsFunc(c.Examples, func(e Example) bool { return len(e.Choices) < 2 })
}

// candidates are what example i may be answered, by what the rows given tell:
// the labels, else its own choices, else its own answer among some of theirs.
func (c *Customisation) candidates(i int, rows []int, labels []string) []string {
	e := &c.Examples[i]
	switch {
	case len(labels) > 0:
		return labels
	case len(e.Choices) > 0:
		return e.Choices
	case !e.Labelled:
		return nil
	}
	out := []string{e.Answer}
	at := slices.Index(rows, i)
	for k := range rows { // those after it first, so that no few answers are everyone's wrong ones
		if len(out) > maxFree {
			break
		}
		if o := &c.Examples[rows[(at+1+k)%len(rows)]]; o.Labelled && !slices.Contains(out, o.Answer) {
			out = append(out, o.Answer)
		}
	}
	slices.Sort(out) // the right one's place says nothing
	return out
}

// maxFree bounds the wrong choices of a row with a free answer.
const maxFree = 7

// check says whether the strategy asked for is there, and of use.
func (o Options) check(name string, writes bool) error {
	if o.Strategy == "" {
		return nil
	}
	s, err := strategy.Get(o.Strategy)
	if err == nil && s.Chooses && writes {
		err = &fault.Error{Op: "customize", Path: name, Exit: fault.ExitUsage, Err: errors.New(s.Name + " picks among labels or choices, and these examples have neither"), Hint: "--labels a,b,c, or a column choices with a|b|c in every row"}
	}
	return err
}

// engine is what strategies score with.
func (o Options) engine(d *device.Device) strategy.Engine {
	if o.Engine != nil {
		return o.Engine
	}
	return deviceengine.New(d)
}

// instant is the plan that takes the examples' features alone: the blend, or,
// without any label, what their scope speaks for.
func (c *Customisation) instant(ctx context.Context, d *device.Device) (*strategy.Plan, error) {
	return fit(ctx, deviceengine.New(d), c.Task(), Method{})
}

// fit fits a plan as a method says.
func fit(ctx context.Context, e strategy.Engine, t strategy.Task, m Method) (*strategy.Plan, error) {
	name := m.Strategy
	if name == "" {
		name = "blend"
		if !slices.ContainsFunc(t.Rows, func(r strategy.Row) bool { return r.Labelled() }) {
			name = strategy.Chosen // by the scope: no pass is needed
		}
	}
	s, err := strategy.Get(name)
	if err != nil {
		return nil, err
	}
	return s.Fit(ctx, e, t)
}

// adopt takes a plan and shows its weights by the adapters' names.
func (c *Customisation) adopt(p *pool.Pool, plan *strategy.Plan) {
	c.Plan, c.Strategy, c.Kept, c.Shared = plan, plan.Strategy, nil, 0
	for i, w := range plan.Members {
		if p.Members[i].Shared {
			c.Shared = w
		} else if w != 0 {
			c.Kept = append(c.Kept, Weight{p.Members[i].Name, w})
		}
	}
	c.Proof, c.bound = nil, new(binding)
}

// Fitted is the plan, also of a customisation that was stored without one.
func (c *Customisation) Fitted(p *pool.Pool) (*strategy.Plan, error) {
	members, err := c.Members(p)
	if err != nil {
		return nil, err
	}
	if c.Plan == nil {
		return &strategy.Plan{Strategy: c.Strategy, Members: members}, nil
	}
	return c.Plan, nil
}

// Improve fits the strategy that the options name, or looks for the best one
// within their Time, by the examples' own labels and what other users' tasks
// teach. It returns the better customisation, or c itself where nothing is
// better than what it has. progress may be nil.
func Improve(ctx context.Context, d *device.Device, c *Customisation, opt Options, progress func(done, total int)) (*Customisation, error) {
	start := time.Now()
	d, err := c.On(d)
	if err != nil {
		return nil, err
	}
	better := *c
	t := c.Task()
	if opt.Strategy != "" {
		if err := opt.check(c.Name, t.Writes); err != nil {
			return nil, err
		}
		if err := c.Remote.allows(opt.Strategy); err != nil {
			return nil, err
		}
		better.Method = Method{Strategy: opt.Strategy, Budget: opt.Time.Seconds()}
	} else {
		if !c.labelled() || opt.Time <= 0 {
			return c, nil
		}
		better.Method = Method{Strategy: strategy.Chosen, Budget: opt.Time.Seconds()}
	}
	t.Budget = opt.Time
	var plan *strategy.Plan
	if better.Method.Strategy == strategy.Chosen {
		plan, err = strategy.Choose(ctx, opt.engine(d), t, nil, progress)
	} else {
		plan, err = fit(ctx, opt.engine(d), t, better.Method)
	}
	if err != nil {
		return nil, err
	}
	better.adopt(d.Pool, plan)
	better.Created = start.UTC().Truncate(time.Second)
	better.Took = c.Took + time.Since(start).Seconds()
	return &better, nil
}

// Same says whether two customisations answer alike.
func (c *Customisation) Same(o *Customisation) bool {
	if c.Plan == nil || o.Plan == nil {
		return c.Plan == o.Plan
	}
	a, b := *c.Plan, *o.Plan
	a.Why, a.Rated, b.Why, b.Rated = "", nil, "", nil
	return reflect.DeepEqual(a, b)
}

// labelled says whether any example has an answer to choose by.
func (c *Customisation) labelled() bool {
	return slices.ContainsFunc(c.Examples, func(e Example) bool { return e.Labelled })
}

// labelsOf is the label list that a fold's rows make, nil if they make none.
// Whether inferred labels make it a label task must not hang on the rows left
// out: it is one if some answers of those would make it one.
func (c *Customisation) labelsOf(rest []int) []string {
	if len(c.Labels) > 0 && !c.Inferred {
		return c.Labels
	}
	var rows []examples.Example
	var answers []string
	fresh := "?"
	for _, i := range rest {
		e := &c.Examples[i]
		if e.Choices != nil {
			return nil
		}
		rows = append(rows, examples.Example{Question: e.Question, Answer: e.Answer, Labelled: e.Labelled})
		if e.Labelled {
			answers = append(answers, e.Answer)
			fresh += e.Answer
		}
	}
	if len(answers) == 0 {
		return nil
	}
	left := len(c.Examples) - len(rest)
	for _, answer := range []string{answers[0], fresh} {
		more := slices.Repeat([]examples.Example{{Answer: answers[0], Labelled: true}}, left)
		more[0].Answer = answer
		if examples.Labels(append(slices.Clip(rows), more...)) != nil {
			slices.Sort(answers)
			return slices.Compact(answers)
		}
	}
	return nil
}
