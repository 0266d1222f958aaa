// Package crayon turns a user's few examples into their own small LLM, without
// training and on this machine: a pool of jointly trained low-rank adapters is
// blended by how much the examples are like what each adapter was trained on.
// What the small LLM should not answer can go to a larger one on a server.
//
// Open opens a model with its pool, Customize makes a customisation from
// examples, a Session answers with it. A Library alone lists, renames and
// removes customisations without opening any model.
package crayon

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"sync"

	"crayon/internal/adapter"
	"crayon/internal/customize"
	"crayon/internal/device"
	"crayon/internal/examples"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/hybrid"
	"crayon/internal/learner"
	"crayon/internal/pool"
	"crayon/internal/privacy"
	"crayon/internal/pull"
	"crayon/internal/route"
	"crayon/internal/route/record"
	"crayon/internal/store"
	"crayon/internal/strategy"
	"crayon/internal/strategy/deviceengine"
	"crayon/internal/upstream"
)

//go:embed pool/default.crayon
var defaultPool []byte

// DefaultModel is the alias of the model the default pool was trained for.
const DefaultModel = "smollm2-135m"

// The nouns of this package; their fields are documented where they are defined.
type (
	// Error is every error of this package: what failed, where, why, and what mends it.
	Error = fault.Error
	// Customisation is a user's own LLM as stored: weights over a pool's adapters,
	// the examples' places, labels, scope, and proof.
	Customisation = customize.Customisation
	// Weight is one adapter's share of a customisation.
	Weight = customize.Weight
	// Proof is what leave-one-out says a customisation is worth.
	Proof = customize.Proof
	// Comparison is the blend against one rival, within a Proof.
	Comparison = customize.Comparison
	// Prompts is what a question costs in prompt tokens, beside what it would
	// with examples in the prompt.
	Prompts = customize.Prompts
	// Remote says which server blended a customisation's adapter, and of what.
	Remote = customize.Remote
	// Plan is how a customisation answers, as a strategy fitted it.
	Plan = strategy.Plan
	// Examples is a user's example file.
	Examples = examples.Set
	// Policy is what is set about routing. Start from DefaultPolicy.
	Policy = hybrid.Policy
	// Decision says who answers and every number that led to it.
	Decision = route.Decision
	// Side is who answers: OnDevice, OnServer, or "" to leave it open.
	Side = route.Side
	// Server says which larger LLM there is and how long it may take.
	Server = upstream.ServerOptions
	// Price is what a server asks for a million tokens.
	Price = upstream.Price
	// Money is an amount in the currency of the prices, exact.
	Money = upstream.Money
	// Limits are what may be spent in a day.
	Limits = upstream.Limits
	// Budget says what may be spent, in all and by key.
	Budget = upstream.BudgetOptions
	// BudgetStatus is what a day's budget has spent, under way, and left.
	BudgetStatus = upstream.BudgetStatus
	// KeyStatus is the same of one key, or of all together.
	KeyStatus = upstream.KeyStatus
	// Privacy says what must not leave.
	Privacy = privacy.Options
	// Pool is a set of jointly trained adapters.
	Pool = pool.Pool
)

// The sides a question can be sent to.
const (
	OnDevice = route.Device
	OnServer = route.Server
)

// DefaultPolicy lets the signals decide, with the scope that each customisation
// set itself from its examples.
func DefaultPolicy() Policy {
	unset := float32(math.NaN())
	return Policy{Mode: route.Auto, ScopeUser: unset, ScopePool: unset, Confidence: unset}
}

// Options of Open. The zero value opens the default model from the user's own
// folders with the pool that is part of the program, and no server.
type Options struct {
	Home        string   // the folder everything is kept in; "" for that of CRAYON_HOME, else the user's XDG folders
	Model       string   // alias of a pulled model, or the path of a GGUF file; "" for DefaultModel
	Pool        string   // path of a pool file; "" for the pool within the program
	Adapter     string   // a PEFT folder or GGUF LoRA file that answers, in place of the pool: no customisations; "" for none
	Threads     int      // worker threads; 0 for one a core
	PrefixCache int      // MB for what prompts begin with, so that it is computed once; 0 for 64, below 0 for none
	LocalOnly   bool     // nothing may leave this machine
	Servers     []Server // of the larger LLM, the first choice first; none: every question is answered here
	Policy      *Policy  // nil for DefaultPolicy
	Budget      Budget   // what may leave in a day; its folder is the library's own
	Privacy     Privacy  // what must not leave
	Bodies      bool     // keep the bodies of requests and answers beside the ledger
	PoolKey     string   // bearer key of the server of CustomizeFrom; "" for none
}

// Crayon is an open model with its pool, the user's library of customisations,
// and, if one is set, the server behind it. Safe for concurrent use: answers
// under way at the same time share forward passes, and none changes another.
type Crayon struct {
	*Library
	device *device.Device
	hybrid *hybrid.Hybrid
	gate   *upstream.Gate
	budget *upstream.Budget
	opened Options
}

// Open opens the model and the pool. Nothing is dialled. Close it after use.
func Open(ctx context.Context, o Options) (*Crayon, error) {
	lib, err := OpenLibrary(o.Home)
	if err != nil {
		return nil, err
	}
	model, err := lib.ModelPath(o.Model)
	if err != nil {
		return nil, err
	}
	var p *Pool
	if o.Adapter == "" {
		if p, err = OpenPool(o.Pool); err != nil {
			return nil, err
		}
	}
	digest, err := lib.paths.Digest(model)
	if err != nil {
		return nil, err
	}
	c := &Crayon{Library: lib, opened: o}
	if c.device, err = device.Open(ctx, model, p, device.Options{Threads: o.Threads, Digest: digest, Adapter: o.Adapter, PrefixCache: o.prefixBytes(), Bare: o.Pool == ""}); err != nil {
		return nil, err
	}
	if err := c.connect(o, digest); err != nil {
		c.device.Close()
		return nil, err
	}
	return c, nil
}

// defaultPrefix is the memory for what prompts begin with, in MB.
const defaultPrefix = 64

func (o Options) prefixBytes() int {
	switch {
	case o.PrefixCache < 0:
		return 0
	case o.PrefixCache == 0:
		return defaultPrefix << 20
	}
	return o.PrefixCache << 20
}

// connect readies the way to the server without dialling; digest is that of the
// model's file.
func (c *Crayon) connect(o Options, digest string) error {
	policy := DefaultPolicy()
	records := record.Open(c.paths.Routing())
	if o.Policy != nil {
		policy = *o.Policy
	}
	c.hybrid = &hybrid.Hybrid{Device: c.device, LocalOnly: o.LocalOnly, Policy: policy, Base: digest, Records: records}
	c.budget = c.openBudget(o.Budget)
	if len(o.Servers) == 0 || o.LocalOnly {
		return nil
	}
	var err error
	if c.gate, err = c.gateFor(o, c.budget); err != nil {
		return err
	}
	if c.hybrid.Servers, err = upstream.NewServers(c.gate, o.Servers); err != nil {
		c.gate.Close()
	}
	return err
}

// Close frees the model and ends idle connections.
func (c *Crayon) Close() error {
	c.hybrid.Close()
	if c.gate != nil {
		c.gate.Close()
	}
	return c.device.Close()
}

// Warning is what to tell the user about model and pool, or "".
func (c *Crayon) Warning() string { return c.device.Warning }

// Adapter is the name of the adapter of Options.Adapter, or "".
func (c *Crayon) Adapter() string { return c.device.Adapter }

// Pool is the pool in use.
func (c *Crayon) Pool() *Pool { return c.device.Pool }

// Threads is how many workers a forward pass uses.
func (c *Crayon) Threads() int { return c.device.Model.Threads() }

// OpenPool reads a pool file; "" is the pool within the program, read once.
func OpenPool(path string) (*Pool, error) {
	if path == "" {
		return embedded()
	}
	return pool.Open(path)
}

var embedded = sync.OnceValues(func() (*Pool, error) {
	p, err := pool.ParseEmbedded(defaultPool)
	if err != nil {
		return nil, &fault.Error{Op: "open pool", Path: "(built in)", Err: err, Exit: fault.ExitVerify}
	}
	return p, nil
})

// ModelPath is the file of a model: of a pulled alias or name, or a path as it
// is. "" is DefaultModel.
func (l *Library) ModelPath(model string) (string, error) {
	if model == "" {
		model = DefaultModel
	}
	return pull.Lookup(l.paths, model)
}

// ReadExamples reads an example file: CSV, JSON lines, chat lines, or plain
// lines; "-" is standard input. labels, if any, are the label set.
func ReadExamples(path string, labels ...string) (*Examples, error) {
	return examples.Read(path, examples.Options{Labels: labels})
}

// SplitChoices reads choices as example files have them, "a|b|c"; nil for none.
func SplitChoices(text string) []string { return examples.SplitChoices(text) }

// learner scores as the device answers under a customisation, and learns where a
// strategy needs it.
func (c *Crayon) learner(custom *Customisation) (*learner.Learner, error) {
	d, err := custom.On(c.device)
	if err != nil {
		return nil, err
	}
	return learner.New(deviceengine.New(d), d, learner.Options{}), nil
}

// Strategies are the names of the strategies that Improve can be told to fit.
func Strategies() []string { return strategy.Names() }

// AboutStrategy says in a few words what a strategy does; "" if there is none.
func AboutStrategy(name string) string {
	s, err := strategy.Get(name)
	if err != nil {
		return ""
	}
	return s.About
}

// CustomizeOptions of Customize. The zero value takes the pool's defaults.
type CustomizeOptions = customize.Options

// Customize blends the pool for the examples and stores the result under name,
// keeping what it replaces as a version. The name is checked first. It takes an
// instant: see Improve for what takes longer.
func (c *Crayon) Customize(ctx context.Context, name string, set *Examples, o CustomizeOptions) (*Customisation, error) {
	if err := store.CheckName(name); err != nil {
		return nil, err
	}
	custom, err := c.Blend(ctx, name, set, o)
	if err != nil {
		return nil, err
	}
	return custom, c.put(ctx, custom)
}

// put stores a customisation that does something here.
func (c *Crayon) put(ctx context.Context, custom *Customisation) error {
	if err := c.putPrivate(custom); err != nil {
		return err
	}
	if _, err := custom.Bind(ctx, c.device); err != nil {
		return err
	}
	var err error
	if custom.Prompts, err = c.Prompts(custom); err != nil {
		return err
	}
	data, err := custom.Marshal()
	if err != nil {
		return fmt.Errorf("customize %s: %w", custom.Name, err)
	}
	return c.shelf.Put(custom.Name, data)
}

// putPrivate stores a plan's private adapter beside the customisations; what
// runs from then on is what was stored.
func (c *Crayon) putPrivate(custom *Customisation) error {
	p := custom.Plan
	if p == nil || p.Private == nil || p.File != "" {
		return nil
	}
	digest, err := c.shelf.PutBeside(func(path string) error {
		return adapter.WriteGGUFAs(path, p.Private, c.device.Model.Config, gguf.F16)
	})
	if err != nil {
		return err
	}
	p.File, p.Private = digest, nil
	custom.Beside(c.shelf.Beside)
	return nil
}

// Improve fits the strategy that the options name, or chooses one by the
// examples' labels within the options' Time, and stores the customisation as a
// new version if it is another than it was. It returns what is stored then.
// progress may be nil.
func (c *Crayon) Improve(ctx context.Context, custom *Customisation, o CustomizeOptions, progress func(done, total int)) (*Customisation, error) {
	l, err := c.learner(custom)
	if err != nil {
		return nil, err
	}
	defer l.Free()
	if o.Engine == nil {
		o.Engine = l
	}
	better, err := customize.Improve(ctx, c.device, custom, o, progress)
	if err != nil || better == custom {
		return custom, err
	}
	if !better.Same(custom) {
		return better, c.put(ctx, better)
	}
	// The choice confirms what there is: it is noted in place.
	was, err := custom.Marshal()
	if err != nil {
		return nil, err
	}
	data, err := better.Marshal()
	if err != nil {
		return nil, err
	}
	return better, c.shelf.Amend(custom.Name, was, data)
}

// Blend is Customize without storing anything.
func (c *Crayon) Blend(ctx context.Context, name string, set *Examples, o CustomizeOptions) (*Customisation, error) {
	return customize.Make(ctx, c.device, name, set, o)
}

// Fits says why a customisation cannot run here: it was made from another pool
// or on another model, or does nothing; nil if it can.
func (c *Crayon) Fits(ctx context.Context, custom *Customisation) error {
	_, err := custom.Bind(ctx, c.device)
	return err
}

// Prompts counts what a question costs under a customisation in prompt tokens.
// What is stored has it already.
func (c *Crayon) Prompts(custom *Customisation) (*Prompts, error) {
	d, err := custom.On(c.device)
	if err != nil {
		return nil, err
	}
	return custom.CountPrompts(d.Pool, &d.Form)
}

// Prove scores a customisation on its own examples, left out of all that it is
// chosen and fitted by, against the base model, the shared adapter alone, and
// examples in the prompt. progress may be nil.
func (c *Crayon) Prove(ctx context.Context, custom *Customisation, progress func(done, total int)) (*Proof, error) {
	l, err := c.learner(custom)
	if err != nil {
		return nil, err
	}
	defer l.Free()
	return customize.Prove(ctx, c.device, custom, customize.Options{Engine: l}, progress)
}

// KeepProof puts a proof into the stored customisation, unless that was
// replaced since it was loaded.
func (c *Crayon) KeepProof(custom *Customisation, p *Proof) error {
	was, err := custom.Marshal()
	if err != nil {
		return err
	}
	proved := *custom
	proved.Proof = p
	data, err := proved.Marshal()
	if err != nil {
		return err
	}
	if err := c.shelf.Amend(custom.Name, was, data); err != nil {
		return err
	}
	custom.Proof = p
	return nil
}
