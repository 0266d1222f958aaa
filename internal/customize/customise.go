// Package customize turns a user's examples into a customisation: weights over
// a pool's adapters, without training, and the proof of what it is worth.
package customize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/fault"
	"crayon/internal/pool"
	"crayon/internal/route"
	"crayon/internal/strategy"
	"crayon/internal/task"
)

// Version of the stored form. Version 1 had no plan: its weights were the blend's.
const Version = 2

// most is how many examples one customisation takes.
const most = 4096

// Customisation is a user's own LLM, as stored: a small JSON file that names
// the pool whose adapters its weights mix.
type Customisation struct {
	Version  int       `json:"version"`
	Name     string    `json:"name"`
	Created  time.Time `json:"created"`
	Strategy string    `json:"strategy"` // how the plan came about: a strategy's name, or "set" by hand
	Pool     string    `json:"pool"`     // sha256 of the pool's file
	Lineage  string    `json:"lineage"`  // fingerprint of the base model
	Model    string    `json:"model"`    // the base model's name
	Weights  []Weight  `json:"weights"`  // every blended adapter's, before the small ones were left out
	Kept     []Weight  `json:"kept"`     // those that run, rescaled to the same sum
	Keep     int       `json:"keep"`     // how many of the largest were to be kept; 0: all
	Shared   float32   `json:"shared"`   // weight of the shared adapter
	Labels   []string  `json:"labels,omitempty"`
	Inferred bool      `json:"labels_inferred,omitempty"` // Labels are the examples' own answers
	Examples []Example `json:"examples"`
	Scope    Scope     `json:"scope"`
	Residual float64   `json:"residual"` // what leaving small adapters out changes, relative (Frobenius)
	Took     float64   `json:"seconds"`  // to make it, the model being open
	Proof    *Proof    `json:"proof,omitempty"`
	Prompts  *Prompts  `json:"prompts,omitempty"` // nil: stored before they were counted

	Plan   *strategy.Plan `json:"plan,omitempty"`   // nil: Kept and Shared alone
	Method Method         `json:"method,omitzero"`  // that made the plan, for the proof to repeat
	Remote *Remote        `json:"remote,omitempty"` // where the adapters were blended; nil: here

	bound   *binding                   // shared by copies
	private func(digest string) string // the file of a private adapter
}

// binding remembers the device a customisation was last bound to.
type binding struct {
	mu     sync.Mutex
	device *device.Device
	row    []float32
	task   *strategy.Task

	on, view *device.Device // see On
}

// Weight is one adapter's share.
type Weight struct {
	Adapter string  `json:"adapter"`
	Weight  float32 `json:"weight"`
}

// Example is one of the user's rows with its place in feature space.
type Example struct {
	Question  string    `json:"question"`
	Answer    string    `json:"answer,omitempty"`
	Context   string    `json:"context,omitempty"`
	Choices   []string  `json:"choices,omitempty"` // the row's own; none in a label task
	Labelled  bool      `json:"labelled"`
	Direction []float32 `json:"direction"` // unit vector; see pool.Feature
}

// Scope is where the customisation ends: queries less like the examples, or
// less like anything the pool knows, are out of scope.
type Scope struct {
	User float32 `json:"user"` // least mean cosine to the nearest examples; see route.Scope
	Pool float32 `json:"pool"` // least cosine to the nearest indicator
}

// Options of Make. The zero value takes the pool's defaults.
type Options struct {
	Keep     int             // blended adapters to keep; 0: the pool's default; negative: all
	Strategy string          // the strategy to fit; "" for the instant one, to begin with
	Time     time.Duration   // that choosing a better strategy may take on 2 cores, about; 0: none is looked for
	Engine   strategy.Engine // that strategies score with; nil for the device's own, which learns nothing
}

// Make blends the pool for a user's examples: each example's feature is compared
// with the indicators, the weights are averaged, the largest kept.
func Make(ctx context.Context, d *device.Device, name string, set *examples.Set, opt Options) (*Customisation, error) {
	start := time.Now()
	if n := len(set.Examples); n == 0 || n > most {
		return nil, &fault.Error{Op: "customize", Path: set.Source, Exit: fault.ExitUsage,
			Err: fmt.Errorf("%d examples; a customisation takes 1 to %d", n, most), Hint: "crayon customize --template > mine.csv"}
	}
	if err := noAdapter(d, "customize"); err != nil {
		return nil, err
	}
	if len(d.Pool.Blended()) == 0 {
		return nil, &fault.Error{Op: "customize", Path: d.Path(), Err: errors.New("there is no pool for this model"),
			Hint: "crayon pool train mine.crayon --data DIR --model " + d.Path(), Exit: fault.ExitUsage}
	}
	c := &Customisation{
		Version: Version, Name: name, Created: start.UTC().Truncate(time.Second), Strategy: "blend", Shared: 1,
		Pool: d.Pool.Digest(), Lineage: d.Lineage, Model: d.Pool.Base.Name, Labels: set.Labels, Inferred: set.Inferred,
		Keep: opt.Keep, bound: new(binding),
	}
	if c.Keep == 0 {
		c.Keep = d.Pool.Keep
	}
	c.Keep = max(c.Keep, 0)
	if d.Elsewhere() {
		c.Remote = &Remote{}
	}
	questions := make([]string, len(set.Examples))
	for i, e := range set.Examples {
		if questions[i] = e.Question; e.Question == "" {
			return nil, &fault.Error{Op: "customize", Path: fmt.Sprintf("%s:%d", set.Source, e.Line), Exit: fault.ExitUsage,
				Err: errors.New("the question is empty"), Hint: "write the question, or leave the row out"}
		}
	}
	for _, e := range set.Examples {
		row := Example{Question: e.Question, Answer: e.Answer, Context: e.Context, Choices: e.Choices, Labelled: e.Labelled}
		if len(set.Labels) > 0 {
			row.Choices = nil
		}
		c.Examples = append(c.Examples, row)
	}
	if err := opt.check(name, c.writes(c.Labels)); err != nil {
		return nil, err
	}
	directions, err := d.Directions(ctx, questions)
	if err != nil {
		return nil, &fault.Error{Op: "customize", Path: set.Source, Err: err}
	}
	for i := range c.Examples {
		c.Examples[i].Direction = directions[i]
	}
	c.Scope = scopeOf(d.Pool, directions)
	full := blend(d.Pool, directions)
	if err := c.Remote.decide(d.Pool, full, &c.Keep); err != nil {
		return nil, err
	}
	c.Weights = named(d.Pool, full)
	c.Residual = d.Pool.Distance(full, pool.KeepTop(full, c.Keep))
	plan, err := c.instant(ctx, d)
	if err != nil {
		return nil, err
	}
	c.adopt(d.Pool, plan)
	c.Took = time.Since(start).Seconds()
	return c, nil
}

// blend is the mean over directions of the softmax weights.
func blend(p *pool.Pool, directions [][]float32) []float32 {
	w := make([][]float32, len(directions))
	for i, dir := range directions {
		w[i] = pool.Weights(p.Similarity(dir), p.Feature.Tau)
	}
	return pool.Average(w)
}

func named(p *pool.Pool, w []float32) []Weight {
	var out []Weight
	for i, m := range p.Blended() {
		if w[i] > 0 {
			out = append(out, Weight{p.Members[m].Name, w[i]})
		}
	}
	return out
}

// scopeOf sets the user's threshold from the examples themselves, each example
// judged by the others. A few examples estimate a low quantile badly, so it is
// held to the range in which it told own tasks from others; docs/routing.md has
// the measurement. The pool's threshold is off: no one value of it helped.
func scopeOf(p *pool.Pool, directions [][]float32) Scope {
	s := Scope{User: -1, Pool: -1}
	t, err := route.ScopeThreshold(directions, route.Neighbours, scopeQuantile, 0)
	switch {
	case err != nil: // too few examples to say where their kind ends
	case p.Feature.Scale == nil:
		s.User = t
	default:
		s.User = max(scopeFloor, min(scopeCeiling, t))
	}
	return s
}

// The share of the user's own examples that may fall outside their scope, and
// the range of the threshold for features scaled by their deviation.
const (
	scopeQuantile = 0.05
	scopeFloor    = 0.15
	scopeCeiling  = 0.20
)

// Bind checks that the customisation belongs to the device's pool and does
// something there, and returns its stacked row. Safe for concurrent use.
func (c *Customisation) Bind(ctx context.Context, d *device.Device) ([]float32, error) {
	d, err := c.On(d)
	if err != nil {
		return nil, err
	}
	b := c.bound
	if b == nil {
		b = new(binding)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.device == d {
		return b.row, nil
	}
	if err := c.Fetch(d.Model.Config); err != nil {
		return nil, err
	}
	if err := noAdapter(d, "load customisation"); err != nil {
		return nil, err
	}
	members, err := c.Members(d.Pool)
	if err != nil {
		return nil, err
	}
	if c.Lineage != d.Lineage {
		return nil, &fault.Error{Op: "load customisation", Path: c.Name, Exit: fault.ExitVerify,
			Err: fmt.Errorf("it was made on another model (lineage %.12s, this is %.12s)", c.Lineage, d.Lineage), Hint: "crayon customize " + c.Name + " -f EXAMPLES"}
	}
	if c.Plan != nil && c.Plan.Members == nil { // the base model, chosen as such
		b.device, b.row = d, nil
		return nil, nil
	}
	held, err := d.Hold(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer held.Release()
	row, err := held.Row(members)
	if err != nil {
		return nil, err
	}
	effect, err := d.Effect(ctx, row)
	if err != nil {
		return nil, err
	}
	if !(effect >= device.LeastEffect) || math.IsInf(effect, 0) {
		return nil, &fault.Error{Op: "load customisation", Path: c.Name, Exit: fault.ExitVerify,
			Err: fmt.Errorf("it changes nothing on this model, or breaks it (probe moved by %.2g)", effect), Hint: "crayon pool verify"}
	}
	b.device, b.row = d, row
	return row, nil
}

// noAdapter refuses customisations on a device that answers with one adapter.
func noAdapter(d *device.Device, op string) error {
	if d.Adapter == "" {
		return nil
	}
	return &fault.Error{Op: op, Err: fmt.Errorf("the adapter %s answers here, in place of a pool: there are no customisations", d.Adapter), Hint: "leave out --adapter", Exit: fault.ExitUsage}
}

// Members is one weight a member of the pool the customisation names.
func (c *Customisation) Members(p *pool.Pool) ([]float32, error) {
	if c.Pool != p.Digest() {
		return nil, &fault.Error{Op: "load customisation", Path: c.Name, Exit: fault.ExitVerify,
			Err: fmt.Errorf("it was made from another pool (%.12s, this is %.12s)", c.Pool, p.Digest()), Hint: "crayon customize " + c.Name + " -f EXAMPLES"}
	}
	for i, e := range c.Examples {
		if len(e.Direction) != len(p.Feature.Mean) {
			return nil, &fault.Error{Op: "load customisation", Path: c.Name, Exit: fault.ExitVerify,
				Err: fmt.Errorf("example %d: direction of %d values, the pool's have %d", i+1, len(e.Direction), len(p.Feature.Mean)), Hint: "crayon rm " + c.Name}
		}
	}
	if c.Plan == nil {
		return MembersOf(p, c.Kept, c.Shared)
	}
	if err := c.Plan.Check(p); err != nil {
		return nil, &fault.Error{Op: "load customisation", Path: c.Name, Exit: fault.ExitVerify, Err: err, Hint: "crayon rm " + c.Name}
	}
	if c.Plan.Members == nil {
		return make([]float32, len(p.Members)), nil
	}
	return slices.Clone(c.Plan.Members), nil
}

// MembersOf spreads named weights over a pool's members.
func MembersOf(p *pool.Pool, kept []Weight, shared float32) ([]float32, error) {
	if !usable(shared) {
		return nil, &fault.Error{Op: "load customisation", Exit: fault.ExitVerify, Err: fmt.Errorf("the shared adapter's weight of %g is beyond ±%d", shared, maxWeight)}
	}
	w := make([]float32, len(p.Members))
	index := map[string]int{}
	for i, m := range p.Members {
		index[m.Name] = i
		if m.Shared {
			w[i] = shared
		}
	}
	for _, k := range kept {
		i, ok := index[k.Adapter]
		if !ok || p.Members[i].Shared || !usable(k.Weight) {
			return nil, &fault.Error{Op: "load customisation", Path: k.Adapter, Exit: fault.ExitVerify, Err: fmt.Errorf("no blended adapter of the pool, or a weight beyond ±%d", maxWeight)}
		}
		w[i] = k.Weight
	}
	return w, nil
}

// maxWeight bounds a weight set by hand.
const maxWeight = 16

func usable(w float32) bool { return w >= -maxWeight && w <= maxWeight }

// Text is the user turn for a question under this customisation.
func (c *Customisation) Text(question, context string) string {
	return task.Text(question, context, c.Labels)
}

// Signals are the scope signals of a question's direction.
func (c *Customisation) Signals(p *pool.Pool, direction []float32) route.Signals {
	s := route.Unmeasured()
	set := make([][]float32, len(c.Examples))
	for i, e := range c.Examples {
		set[i] = e.Direction
	}
	s.ScopeUser = route.Scope(direction, set, route.Neighbours)
	for i, x := range p.Similarity(direction) {
		if i == 0 || x > s.ScopePool {
			s.ScopePool = x
		}
	}
	return s
}

// Marshal is the stored form.
func (c *Customisation) Marshal() ([]byte, error) { return json.MarshalIndent(c, "", " ") }

// Unmarshal reads the stored form and checks it.
func Unmarshal(name string, data []byte) (*Customisation, error) {
	c := &Customisation{}
	bad := func(err error) error {
		return &fault.Error{Op: "read customisation", Path: name, Err: err, Exit: fault.ExitVerify, Hint: "crayon rm " + name}
	}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, bad(err)
	}
	if c.Version < 1 || c.Version > Version {
		return nil, bad(fmt.Errorf("version %d, this program reads versions 1 to %d", c.Version, Version))
	}
	if c.Version == 1 {
		c.Version, c.Plan = Version, nil
	}
	if err := c.check(); err != nil {
		return nil, bad(err)
	}
	c.Name, c.bound = name, new(binding)
	return c, nil
}

// check reports what no customisation can have; what depends on the pool is
// checked by Members.
func (c *Customisation) check() error {
	switch {
	case c.Pool == "":
		return errors.New("it names no pool")
	case len(c.Kept) == 0 && c.Plan == nil || len(c.Kept) > most || len(c.Weights) > most:
		return errors.New("it has no weights, or too many")
	case len(c.Examples) > most || len(c.Labels) > most:
		return fmt.Errorf("more than %d examples or labels", most)
	case len(c.Labels) == 1 || slices.Contains(c.Labels, ""):
		return errors.New("a single label, or an empty one")
	case c.Keep < 0:
		return errors.New("keep is negative")
	}
	if err := c.Remote.check(); err != nil {
		return err
	}
	for i, e := range c.Examples {
		var square float64
		for _, x := range e.Direction {
			square += float64(x) * float64(x)
		}
		if len(e.Direction) != len(c.Examples[0].Direction) || square > 1.01 {
			return fmt.Errorf("example %d: direction of %d values and length %.3g", i+1, len(e.Direction), math.Sqrt(square))
		}
	}
	return nil
}
