package pool

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/store"
)

// A pool file is a GGUF container: keys under "crayon.", and for every linear
// layer the stacked A (Rank x in) and the stacked B transposed (Rank x out), so
// that quantisation blocks run along the wide side. docs/pool.md has the keys.
const (
	fileType    = "crayon-pool"
	fileVersion = 1
	maxMembers  = 4096
	maxRank     = 4096
	maxFile     = 1 << 30
)

// Open reads a pool file whole.
func Open(path string) (*Pool, error) {
	data, err := store.ReadFile(path, maxFile)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, &fault.Error{Op: "open pool", Path: path, Err: errors.New("no such file"), Hint: "crayon pool train " + path + " --data DIR"}
		}
		return nil, err
	}
	p, err := Parse(data)
	if err != nil {
		// The reader's own hint is about models, so its error goes on as text alone.
		return nil, &fault.Error{Op: "open pool", Path: path, Err: errors.New(err.Error()), Exit: fault.ExitVerify,
			Hint: "fetch or train the pool again, or leave --pool out for the one in the program"}
	}
	p.path = path
	return p, nil
}

// ParseEmbedded is Parse of a file within the program (go:embed).
func ParseEmbedded(data []byte) (*Pool, error) {
	p, err := Parse(data)
	if err == nil {
		p.embedded = true
	}
	return p, err
}

// Parse reads a pool from memory. Every length is checked before it is used.
func Parse(data []byte) (*Pool, error) {
	r, err := begin(data, fileType, "a Crayon pool")
	if err != nil {
		return nil, err
	}
	p := &Pool{digest: sum(data), size: len(data), data: data}
	r.pool(p)
	if r.err != nil {
		return nil, r.err
	}
	var owner []int
	for i, m := range p.Members {
		for range m.Rank {
			owner = append(owner, i)
		}
	}
	if p.Stack, err = r.stack(p.Base.Shape, "", len(p.Members), owner); err != nil {
		return nil, err
	}
	p.sides = r.f.Tensor(sideName(p.Stack.Slots()[0], "a")).Type // all are stored alike
	if p.Made.Store == "" {
		p.Made.Store = p.sides.String()
	}
	if p.Baseline, err = r.baselines(p.Base.Shape); err != nil {
		return nil, err
	}
	return p, r.err
}

// begin reads a file of the type kind, which is called what in errors.
func begin(data []byte, kind, what string) (reader, error) {
	f, err := gguf.Parse(data)
	if err != nil {
		return reader{}, err
	}
	r := reader{f: f}
	if t, _ := f.String("general.type"); t != kind {
		return r, fmt.Errorf("general.type is %q: not %s", t, what)
	}
	if v := r.uint("crayon.version", 1<<16); v != fileVersion {
		return r, fmt.Errorf("pool file version %d, this program reads version %d", v, fileVersion)
	}
	return r, nil
}

// sum is the sha256 of data, hex.
func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

type reader struct {
	f   *gguf.File
	err error
}

func (r *reader) fail(key, format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...))
	}
}

func (r *reader) string(key string) string {
	s, ok := r.f.String(key)
	if !ok {
		r.fail(key, "missing")
	}
	return s
}

func (r *reader) uint(key string, most uint64) int {
	v, ok := r.f.Uint(key)
	if !ok || v > most {
		r.fail(key, "missing or above %d", most)
		return 0
	}
	return int(v)
}

func (r *reader) float(key string) float64 {
	v, ok := r.f.Float(key)
	if !ok || math.IsNaN(v) || math.IsInf(v, 0) {
		r.fail(key, "missing or not a number")
	}
	return v
}

func (r *reader) strings(key string) []string {
	s, _ := r.f.Strings(key)
	return s
}

func (r *reader) pool(p *Pool) {
	p.Name = r.string("general.name")
	p.Base = r.base()
	if r.err != nil {
		return
	}
	b, ft := &p.Base, &p.Feature
	ft.Name, ft.Text = r.string("crayon.feature.name"), r.string("crayon.feature.text")
	ft.Layer, ft.MaxTokens = r.uint("crayon.feature.layer", 512), r.uint("crayon.feature.max_tokens", 1<<20)
	ft.Tau = float32(r.float("crayon.feature.tau"))
	if r.err == nil && (!(ft.Tau > 0) || ft.MaxTokens == 0 || ft.Layer > b.Shape.Layers || ft.Text != "question") {
		r.fail("crayon.feature", "tau, max_tokens, layer or text out of range")
	}
	ft.Mean = r.vector("feature.mean", b.Shape.Dim)
	if r.f.Tensor("feature.scale") != nil {
		ft.Scale = r.vector("feature.scale", b.Shape.Dim)
	}
	p.Prompt.System, p.Prompt.Template = r.string("crayon.prompt.system"), r.string("crayon.prompt.template")
	p.Keep = r.uint("crayon.keep", maxMembers)
	names := r.strings("crayon.members.names")
	ranks, _ := r.f.Ints("crayon.members.ranks")
	shared, _ := r.f.Ints("crayon.members.shared")
	counts, _ := r.f.Ints("crayon.members.examples")
	covers := r.strings("crayon.members.covers")
	n := len(names)
	if n == 0 || n > maxMembers || len(ranks) != n || len(shared) != n || len(counts) != n || len(covers) != n {
		r.fail("crayon.members", "names, ranks, shared, examples and covers must be equally many, 1 to %d", maxMembers)
		return
	}
	blended, total := 0, int64(0)
	for i := range names {
		if names[i] == "" || ranks[i] < 1 || ranks[i] > maxRank || shared[i] < 0 || shared[i] > 1 || counts[i] < 0 {
			r.fail("crayon.members", "member %q: name, rank, shared or examples out of range", names[i])
			return
		}
		total += ranks[i]
		m := Member{Name: names[i], Rank: int(ranks[i]), Shared: shared[i] == 1, Examples: int(counts[i])}
		if covers[i] != "" {
			m.Covers = strings.Split(covers[i], ",")
		}
		if !m.Shared {
			blended++
		}
		if slices.ContainsFunc(p.Members, func(o Member) bool { return o.Name == m.Name }) {
			r.fail("crayon.members", "two members are named %q", m.Name)
		}
		p.Members = append(p.Members, m)
	}
	if total > maxRank || blended == 0 {
		r.fail("crayon.members", "rank %d in all (at most %d), %d blended (at least 1)", total, maxRank, blended)
		return
	}
	ind := r.vector("indicators", blended*b.Shape.Dim)
	if r.err != nil {
		return
	}
	for _, i := range p.Blended() {
		p.Members[i].Indicator, ind = ind[:b.Shape.Dim], ind[b.Shape.Dim:]
	}
	m := &p.Made
	m.Created, m.Recipe, m.Licence = r.string("crayon.made.created"), r.string("crayon.made.recipe"), r.string("general.license")
	seed, _ := r.f.Uint("crayon.made.seed")
	m.Seed, m.Data, m.Licences = seed, r.strings("crayon.made.data"), r.strings("crayon.made.licences")
	m.Loss, m.Seconds = r.float("crayon.made.loss"), r.float("crayon.made.seconds")
	m.Examples, m.Steps, m.Workers = r.uint("crayon.made.examples", 1<<40), r.uint("crayon.made.steps", 1<<40), r.uint("crayon.made.workers", 1<<16)
	r.card(m)
	p.Coverage = r.coverage(b.Shape.Dim)
}

// base reads which model the adapters belong to.
func (r *reader) base() Base {
	b := Base{Name: r.string("crayon.base.name"), Digest: r.string("crayon.base.digest"), Lineage: r.string("crayon.base.lineage")}
	b.Shape = arch.Config{
		Family: r.string("crayon.base.family"), Layers: r.uint("crayon.base.layers", 512), Dim: r.uint("crayon.base.dim", 1<<16),
		Heads: r.uint("crayon.base.heads", 1024), KVHeads: r.uint("crayon.base.kv_heads", 1024), FF: r.uint("crayon.base.ff", 1<<20),
	}
	if s := &b.Shape; r.err == nil {
		if s.Layers == 0 || s.Dim == 0 || s.Heads == 0 || s.KVHeads == 0 || s.FF == 0 || s.Dim%s.Heads != 0 || s.Heads%s.KVHeads != 0 {
			r.fail("crayon.base", "impossible shape")
			return b
		}
		s.HeadDim = s.Dim / s.Heads
	}
	return b
}

func (r *reader) vector(name string, n int) []float32 { return r.values(name, gguf.F32, n) }

// values reads a tensor of n finite values of type kind; nil when it fails.
func (r *reader) values(name string, kind gguf.Type, n int) []float32 {
	t := r.f.Tensor(name)
	if r.err != nil {
		return nil
	}
	if t == nil || t.Elements() != n || t.Type != kind {
		r.fail(name, "missing, or not %d %s values", n, kind)
		return nil
	}
	v := make([]float32, n)
	t.Floats(v)
	for _, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			r.fail(name, "holds a value that is not a number")
			return nil
		}
	}
	return v
}

// stack is the stack of the sides with tensor names under prefix, which stay
// as they are stored; every value is looked at once.
func (r *reader) stack(c arch.Config, prefix string, adapters int, owner []int) (*adapter.Stack, error) {
	if r.err != nil {
		return nil, r.err
	}
	rank := len(owner)
	sides := make([][2]*gguf.Tensor, c.Slots())
	var slots []arch.Slot
	var values []float32
	for i := range sides {
		slot := arch.Slot(i)
		a, b := r.f.Tensor(prefix+sideName(slot, "a")), r.f.Tensor(prefix+sideName(slot, "b"))
		if a == nil && b == nil {
			continue
		}
		out, in := c.Shape(slot.Kind())
		if !sized(a, rank, in) || !sized(b, rank, out) {
			return nil, fmt.Errorf("%s%s: sides are missing or not of rank %d for %dx%d", prefix, slot.Tensor(), rank, out, in)
		}
		values = slices.Grow(values[:0], rank*max(in, out))
		for _, t := range []*gguf.Tensor{a, b} {
			v := values[:t.Elements()]
			t.Floats(v)
			for _, x := range v {
				if x-x != 0 { // NaN or infinite
					return nil, fmt.Errorf("%s%s: holds a value that is not a number", prefix, slot.Tensor())
				}
			}
		}
		sides[i] = [2]*gguf.Tensor{a, b}
		slots = append(slots, slot)
	}
	if len(slots) == 0 {
		return nil, fmt.Errorf("%sno adapter sides in the file", prefix)
	}
	return adapter.Stored(adapters, rank, owner, slots, func(slot arch.Slot) *adapter.Pair {
		out, in := c.Shape(slot.Kind())
		p := &adapter.Pair{Rank: rank, In: in, Out: out, A: make([]float32, rank*in), B: make([]float32, out*rank)}
		sides[slot][0].Floats(p.A)
		bt := make([]float32, rank*out)
		sides[slot][1].Floats(bt)
		transpose(p.B, bt, rank, out)
		return p
	}), nil
}

func sized(t *gguf.Tensor, rows, cols int) bool {
	return t != nil && len(t.Shape) == 2 && t.Rows() == rows && t.Cols() == cols
}

// transpose writes src (rows x cols) to dst (cols x rows).
func transpose(dst, src []float32, rows, cols int) {
	for r := 0; r < rows; r++ {
		for c, x := range src[r*cols : (r+1)*cols] {
			dst[c*rows+r] = x
		}
	}
}

func sideName(s arch.Slot, side string) string {
	return strings.TrimSuffix(s.Tensor(), "weight") + side
}

// Bytes renders the pool as a file, its sides stored as t (Q8_0 or smaller).
func (p *Pool) Bytes(t gguf.Type) ([]byte, error) { return p.bytes(t, p.Made) }

// bytes is Bytes with m for the pool's provenance.
func (p *Pool) bytes(t gguf.Type, m Provenance) ([]byte, error) {
	b := gguf.NewBuilder()
	b.Set("general.type", fileType)
	b.Set("general.name", p.Name)
	b.Set("general.license", m.Licence)
	b.Set("crayon.version", uint32(fileVersion))
	setBase(b, p.Base)
	b.Set("crayon.feature.name", p.Feature.Name)
	b.Set("crayon.feature.text", p.Feature.Text)
	b.Set("crayon.feature.layer", uint32(p.Feature.Layer))
	b.Set("crayon.feature.max_tokens", uint32(p.Feature.MaxTokens))
	b.Set("crayon.feature.tau", p.Feature.Tau)
	b.Set("crayon.prompt.system", p.Prompt.System)
	b.Set("crayon.prompt.template", p.Prompt.Template)
	b.Set("crayon.keep", uint32(p.Keep))
	ind := setMembers(b.Set, p.Members)
	b.Set("crayon.made.created", m.Created)
	b.Set("crayon.made.recipe", m.Recipe)
	b.Set("crayon.made.seed", m.Seed)
	b.Set("crayon.made.data", m.Data)
	b.Set("crayon.made.licences", m.Licences)
	b.Set("crayon.made.loss", float32(m.Loss))
	b.Set("crayon.made.seconds", float32(m.Seconds))
	b.Set("crayon.made.examples", uint64(m.Examples))
	b.Set("crayon.made.steps", uint64(m.Steps))
	b.Set("crayon.made.workers", uint32(m.Workers))
	setCard(b, m)
	if err := addCoverage(b, p.Coverage); err != nil {
		return nil, err
	}
	if err := add(b, "feature.mean", gguf.F32, p.Feature.Mean, len(p.Feature.Mean)); err != nil {
		return nil, err
	}
	if s := p.Feature.Scale; s != nil {
		if err := add(b, "feature.scale", gguf.F32, s, len(s)); err != nil {
			return nil, err
		}
	}
	if err := add(b, "indicators", gguf.F32, ind, len(p.Feature.Mean), len(p.Blended())); err != nil {
		return nil, err
	}
	if err := addStack(b, "", t, p.Stack); err != nil {
		return nil, err
	}
	if err := addBaselines(b, t, p.Baseline); err != nil {
		return nil, err
	}
	return render(b)
}

func render(b *gguf.Builder) ([]byte, error) {
	var buf bytes.Buffer
	if _, err := b.WriteTo(&buf); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// setMembers sets the members' keys and returns the blended ones' indicators.
func setMembers(set func(string, any), all []Member) []float32 {
	var names, covers []string
	var ranks, shared, counts []int32
	var ind []float32
	for _, m := range all {
		names, covers = append(names, m.Name), append(covers, strings.Join(m.Covers, ","))
		ranks, counts = append(ranks, int32(m.Rank)), append(counts, int32(m.Examples))
		if m.Shared {
			shared = append(shared, 1)
			continue
		}
		shared = append(shared, 0)
		ind = append(ind, m.Indicator...)
	}
	set("crayon.members.names", names)
	set("crayon.members.covers", covers)
	set("crayon.members.ranks", ranks)
	set("crayon.members.shared", shared)
	set("crayon.members.examples", counts)
	return ind
}

// Write stores the pool at path, whole or not at all, and returns it as read
// back: with the values of its stored form, their error and its digest.
func (p *Pool) Write(path string, t gguf.Type) (*Pool, error) {
	stored, data, err := p.stored(t)
	if err != nil {
		return nil, &fault.Error{Op: "write pool", Path: path, Err: err, Exit: fault.ExitVerify}
	}
	if err := store.WriteBytes(path, data); err != nil {
		return nil, err
	}
	stored.path = path
	return stored, nil
}

// stored renders the pool with the error of its stored sides in its card.
func (p *Pool) stored(t gguf.Type) (*Pool, []byte, error) {
	made := p.Made
	made.Store, made.StoreError = t.String(), 0
	data, err := p.bytes(t, made)
	if err != nil {
		return nil, nil, err
	}
	stored, err := Parse(data)
	if err != nil || t == gguf.F32 {
		return stored, data, err
	}
	if made.StoreError, err = p.StoreError(stored); err != nil {
		return nil, nil, err
	}
	if data, err = p.bytes(t, made); err != nil {
		return nil, nil, err
	}
	stored, err = Parse(data)
	return stored, data, err
}

func setBase(b *gguf.Builder, base Base) {
	s := base.Shape
	b.Set("crayon.base.name", base.Name)
	b.Set("crayon.base.digest", base.Digest)
	b.Set("crayon.base.lineage", base.Lineage)
	b.Set("crayon.base.family", s.Family)
	b.Set("crayon.base.layers", uint32(s.Layers))
	b.Set("crayon.base.dim", uint32(s.Dim))
	b.Set("crayon.base.heads", uint32(s.Heads))
	b.Set("crayon.base.kv_heads", uint32(s.KVHeads))
	b.Set("crayon.base.ff", uint32(s.FF))
}

func addStack(b *gguf.Builder, prefix string, t gguf.Type, stack *adapter.Stack) error {
	for s, p := range stack.All() {
		if err := add(b, prefix+sideName(s, "a"), t, p.A, p.In, p.Rank); err != nil {
			return err
		}
		bt := make([]float32, len(p.B))
		transpose(bt, p.B, p.Out, p.Rank)
		if err := add(b, prefix+sideName(s, "b"), t, bt, p.Out, p.Rank); err != nil {
			return err
		}
	}
	return nil
}

func add(b *gguf.Builder, name string, t gguf.Type, v []float32, shape ...int) error {
	data, err := gguf.Quantize(t, v)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	b.Add(name, shape, t, data)
	return nil
}
