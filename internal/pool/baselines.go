package pool

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"regexp"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/store"
)

// Baselines are the benchmark's rivals in a file of their own: single adapters
// trained on a pool's rows, kept apart so that the pool in the program is small.
type Baselines struct {
	Base     Base
	Pool     string // sha256 of the pool's file when they were written; "" if it was not known
	Recipe   string // RecipeDigest of the pool they were trained with
	Adapters map[string]*adapter.Adapter

	digest string
}

const (
	baselinesType = "crayon-baselines"
	maxBaselines  = 256
)

// baselineName keeps a name from making keys and tensors of another.
var baselineName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// RecipeDigest is the sha256 of the recipe's text, hex: it stays the same when
// baselines are taken out of the pool's file.
func (p *Pool) RecipeDigest() string {
	return sum([]byte(p.Made.Recipe))
}

// Digest is the sha256 of the baselines' file, hex.
func (b *Baselines) Digest() string { return b.digest }

// Baselines are the pool's own, to be written apart.
func (p *Pool) Baselines() *Baselines {
	return &Baselines{Base: p.Base, Pool: p.digest, Recipe: p.RecipeDigest(), Adapters: p.Baseline}
}

// OpenBaselines reads a file of baselines whole.
func OpenBaselines(path string) (*Baselines, error) {
	data, err := store.ReadFile(path, maxFile)
	if err != nil {
		return nil, err
	}
	b, err := ParseBaselines(data)
	if err != nil {
		return nil, &fault.Error{Op: "open baselines", Path: path, Err: errors.New(err.Error()), Exit: fault.ExitVerify, Hint: "crayon pool strip NEW --baselines FILE writes one"}
	}
	return b, nil
}

// ParseBaselines reads baselines from memory. Every length is checked before it
// is used.
func ParseBaselines(data []byte) (*Baselines, error) {
	f, err := gguf.Parse(data)
	if err != nil {
		return nil, err
	}
	r := reader{f: f}
	if t, _ := f.String("general.type"); t != baselinesType {
		return nil, fmt.Errorf("general.type is %q: not a file of baselines", t)
	}
	if v := r.uint("crayon.version", 1<<16); v != fileVersion {
		return nil, fmt.Errorf("version %d, this program reads version %d", v, fileVersion)
	}
	b := &Baselines{Base: r.base(), Recipe: r.string("crayon.pool.recipe"), digest: sum(data)}
	b.Pool, _ = f.String("crayon.pool.digest")
	if r.err != nil {
		return nil, r.err
	}
	if b.Adapters, err = r.baselines(b.Base.Shape); err != nil {
		return nil, err
	}
	if len(b.Adapters) == 0 {
		return nil, errors.New("there is no baseline in the file")
	}
	return b, nil
}

// Write stores the baselines at path, their sides stored as t, whole or not at
// all, and returns them as read back.
func (b *Baselines) Write(path string, t gguf.Type) (*Baselines, error) {
	data, err := b.bytes(t)
	if err != nil {
		return nil, &fault.Error{Op: "write baselines", Path: path, Err: err}
	}
	stored, err := ParseBaselines(data)
	if err != nil {
		return nil, &fault.Error{Op: "write baselines", Path: path, Err: err, Exit: fault.ExitVerify}
	}
	return stored, store.WriteBytes(path, data)
}

func (b *Baselines) bytes(t gguf.Type) ([]byte, error) {
	w := b.header()
	if err := addBaselines(w, t, b.Adapters); err != nil {
		return nil, err
	}
	return render(w)
}

func (b *Baselines) header() *gguf.Builder {
	w := gguf.NewBuilder()
	w.Set("general.type", baselinesType)
	w.Set("crayon.version", uint32(fileVersion))
	setBase(w, b.Base)
	w.Set("crayon.pool.digest", b.Pool)
	w.Set("crayon.pool.recipe", b.Recipe)
	return w
}

// Attach gives the pool the baselines, beside those it has. It refuses those
// of another base model, and those trained with another recipe than the pool.
func (p *Pool) Attach(b *Baselines) error {
	refuse := func(err error) error {
		return &fault.Error{Op: "use baselines", Path: p.path, Err: err, Exit: fault.ExitVerify, Hint: "use the baselines that were trained with this pool"}
	}
	s, c := p.Base.Shape, b.Base.Shape
	switch {
	case b.Base.Lineage != p.Base.Lineage:
		return refuse(fmt.Errorf("they are for %s (lineage %.12s), the pool is for %.12s", b.Base.Name, b.Base.Lineage, p.Base.Lineage))
	case s.Layers != c.Layers || s.Dim != c.Dim || s.FF != c.FF || s.Heads != c.Heads || s.KVHeads != c.KVHeads:
		return refuse(errors.New("their layers have another shape than the pool's"))
	case b.Pool != p.digest && b.Recipe != p.RecipeDigest():
		return refuse(fmt.Errorf("they were trained with another recipe (%.12s) than the pool (%.12s)", b.Recipe, p.RecipeDigest()))
	}
	if p.Baseline == nil {
		p.Baseline = map[string]*adapter.Adapter{}
	}
	for name, a := range b.Adapters {
		p.Baseline[name] = a
	}
	return nil
}

// baselines reads the rivals of a pool's or a baselines' file.
func (r *reader) baselines(c arch.Config) (map[string]*adapter.Adapter, error) {
	names := r.strings("crayon.baseline.names")
	if len(names) > maxBaselines {
		return nil, fmt.Errorf("crayon.baseline.names: %d, at most %d", len(names), maxBaselines)
	}
	out := make(map[string]*adapter.Adapter, len(names))
	for _, name := range names {
		if !baselineName.MatchString(name) || out[name] != nil {
			return nil, fmt.Errorf("crayon.baseline.names: %q is no name, or there twice", name)
		}
		s, err := r.stack(c, "baseline."+name+".", 1, make([]int, r.uint("crayon.baseline."+name+".rank", maxRank)))
		if err != nil {
			return nil, err
		}
		out[name] = &adapter.Adapter{Name: name, Scale: 1, Pairs: s.InMemory().Pairs}
	}
	return out, r.err
}

func addBaselines(b *gguf.Builder, t gguf.Type, all map[string]*adapter.Adapter) error {
	names := sortedKeys(all)
	b.Set("crayon.baseline.names", names)
	for _, name := range names {
		if !baselineName.MatchString(name) {
			return fmt.Errorf("%q cannot name a baseline: letters, digits, _ and - can", name)
		}
		s, err := adapter.NewStack([]*adapter.Adapter{all[name]})
		if err != nil {
			return err
		}
		b.Set("crayon.baseline."+name+".rank", uint32(s.Rank))
		if err := addStack(b, "baseline."+name+".", t, s); err != nil {
			return err
		}
	}
	return nil
}

// BaselineSize is one rival in a pool's file.
type BaselineSize struct {
	Name  string `json:"name"`
	Rank  int    `json:"rank"`
	Bytes int    `json:"bytes"` // that it takes in a file of the pool's storage type
}

// BaselineSizes are the pool's rivals by name.
func (p *Pool) BaselineSizes() []BaselineSize {
	var out []BaselineSize
	for _, name := range sortedKeys(p.Baseline) {
		a := p.Baseline[name]
		out = append(out, BaselineSize{name, a.Rank(), sidesBytes(p.sides, maps.All(a.Pairs))})
	}
	return out
}

// sidesBytes is what sides take when stored as t.
func sidesBytes(t gguf.Type, pairs iter.Seq2[arch.Slot, *adapter.Pair]) int {
	n := 0
	values, bytes := t.Block()
	if values == 0 {
		return 0
	}
	for _, p := range pairs {
		n += (p.Rank*p.In + p.Rank*p.Out) / values * bytes
	}
	return n
}

// StoreCost is what another storage type of the sides would cost.
type StoreCost struct {
	Type  string  `json:"type"`
	Bytes int     `json:"bytes"` // of the members' sides
	Error float64 `json:"error"` // against the sides as they are now, relative (Frobenius norm of the products)
}

// StoreTypes are the types that sides are stored as, the largest first.
var StoreTypes = []gguf.Type{gguf.F32, gguf.F16, gguf.Q8_0, gguf.Q5_0, gguf.Q4_1, gguf.Q4_0}

// StoreCosts measures each of StoreTypes on the pool's sides.
func (p *Pool) StoreCosts() ([]StoreCost, error) {
	bare := &Pool{Name: p.Name, Base: p.Base, Feature: p.Feature, Prompt: p.Prompt, Members: p.Members, Stack: p.Stack, Keep: p.Keep, Made: p.Made}
	var out []StoreCost
	for _, t := range StoreTypes {
		stored, _, err := bare.stored(t)
		if err != nil {
			return nil, &fault.Error{Op: "measure storage types", Path: p.path, Err: err}
		}
		out = append(out, StoreCost{t.String(), sidesBytes(t, p.Stack.All()), stored.Made.StoreError})
	}
	return out, nil
}
