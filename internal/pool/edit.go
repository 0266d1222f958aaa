package pool

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/store"
)

// Expert is an adapter from elsewhere that is to join a pool.
type Expert struct {
	Name       string
	Adapter    *adapter.Adapter
	Source     string      // where it came from, in words
	Directions [][]float32 // of examples of what it is for: their mean is its indicator
	Covers     []string
	Licence    string // of the adapter and its data, as stated
}

// edit is a pool's file being written anew: keys and tensors as they are
// stored, so that what stays keeps its bits.
type edit struct {
	pool    *Pool
	file    *gguf.File
	set     map[string]any // keys that change; nil drops one
	tensors []*gguf.Tensor
}

func (p *Pool) edit() (*edit, error) {
	if p.data == nil {
		return nil, errors.New("the pool is in no file")
	}
	f, err := gguf.Parse(p.data)
	if err != nil {
		return nil, err
	}
	return &edit{pool: p, file: f, set: map[string]any{}, tensors: slices.Clone(f.Tensors())}, nil
}

// done renders the edit, reads it back, and checks that what stays is as it was.
func (e *edit) done() (*Pool, error) {
	data, err := e.render()
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

func (e *edit) render() ([]byte, error) {
	b := gguf.NewBuilder()
	written := map[string]bool{}
	for _, k := range e.file.Keys() {
		v, _ := e.file.Value(k)
		if n, there := e.set[k]; there {
			v = n
		}
		if written[k] = true; v != nil {
			b.Set(k, v)
		}
	}
	for _, k := range sortedKeys(e.set) {
		if v := e.set[k]; v != nil && !written[k] {
			b.Set(k, v)
		}
	}
	for _, t := range e.tensors {
		b.Add(t.Name, t.Shape, t.Type, t.Data)
	}
	return render(b)
}

// Save stores the pool's file as it is at path, whole or not at all.
func (p *Pool) Save(path string) (*Pool, error) {
	if p.data == nil {
		return nil, &fault.Error{Op: "write pool", Path: path, Err: errors.New("the pool is in no file")}
	}
	if err := store.WriteBytes(path, p.data); err != nil {
		return nil, err
	}
	return Open(path)
}

// changed notes what was done, in the card.
func (e *edit) changed(when time.Time, what string) {
	e.set["crayon.made.changes"] = append(slices.Clone(e.pool.Made.Changes),
		fmt.Sprintf("%s: %s (from %.12s)", when.UTC().Format(time.DateOnly), what, e.pool.digest))
}

// members writes the members' keys and indicators.
func (e *edit) members(all []Member) error {
	indicators := setMembers(func(k string, v any) { e.set[k] = v }, all)
	data, err := gguf.Quantize(gguf.F32, indicators)
	if err != nil {
		return err
	}
	dim := e.pool.Base.Shape.Dim
	for i, t := range e.tensors {
		if t.Name == "indicators" {
			e.tensors[i] = &gguf.Tensor{Name: t.Name, Shape: []int{dim, len(indicators) / dim}, Type: t.Type, Data: data}
		}
	}
	return nil
}

// Strip is the pool without its baselines but those named. What stays keeps its bits.
func (p *Pool) Strip(keep ...string) (*Pool, error) {
	fail := func(err error) (*Pool, error) {
		return nil, &fault.Error{Op: "strip pool", Path: p.path, Err: err}
	}
	for _, name := range keep {
		if p.Baseline[name] == nil {
			return fail(fmt.Errorf("it has no baseline %q", name))
		}
	}
	e, err := p.edit()
	if err != nil {
		return fail(err)
	}
	var names []string
	for _, name := range sortedKeys(p.Baseline) {
		if slices.Contains(keep, name) {
			names = append(names, name)
			continue
		}
		e.set["crayon.baseline."+name+".rank"] = nil
		e.tensors = slices.DeleteFunc(e.tensors, func(t *gguf.Tensor) bool { return strings.HasPrefix(t.Name, "baseline."+name+".") })
	}
	e.set["crayon.baseline.names"] = names
	out, err := e.done()
	if err != nil {
		return fail(err)
	}
	return out, nil
}

// Retire is the pool without one blended adapter. The others keep their bits;
// the softmax gives its weight to them.
func (p *Pool) Retire(name string, when time.Time) (*Pool, error) {
	fail := func(err error, hint string) (*Pool, error) {
		return nil, &fault.Error{Op: "retire adapter", Path: name, Err: err, Hint: hint, Exit: fault.ExitUsage}
	}
	at := slices.IndexFunc(p.Members, func(m Member) bool { return m.Name == name })
	switch {
	case at < 0:
		return fail(errors.New("the pool has no adapter of this name"), "crayon pool info")
	case p.Members[at].Shared:
		return fail(errors.New("it is the shared adapter, which the others were trained beside"), "retire a blended one")
	case len(p.Blended()) == 1:
		return fail(errors.New("it is the only blended adapter"), "crayon pool add, and then retire it")
	}
	e, err := p.edit()
	if err != nil {
		return fail(err, "")
	}
	rest := slices.Delete(slices.Clone(p.Members), at, at+1)
	if err := e.members(rest); err != nil {
		return fail(err, "")
	}
	blended := len(p.Blended()) - 1
	e.set["crayon.keep"] = uint32(min(p.Keep, blended))
	first := 0
	for _, m := range p.Members[:at] {
		first += m.Rank
	}
	for i, t := range e.tensors {
		if strings.HasPrefix(t.Name, "blk.") {
			n := len(t.Data) / t.Rows()
			data := slices.Delete(slices.Clone(t.Data), first*n, (first+p.Members[at].Rank)*n)
			e.tensors[i] = &gguf.Tensor{Name: t.Name, Shape: []int{t.Cols(), t.Rows() - p.Members[at].Rank}, Type: t.Type, Data: data}
		}
	}
	e.changed(when, fmt.Sprintf("retired %s, of rank %d", name, p.Members[at].Rank))
	out, err := e.done()
	if err != nil {
		return fail(err, "")
	}
	return out, nil
}

// Add is the pool with one more blended adapter, which none of the others was
// trained beside; they keep their bits. Its indicator is the mean direction of
// the examples.
func (p *Pool) Add(x Expert, when time.Time) (*Pool, error) {
	fail := func(err error, hint string) (*Pool, error) {
		return nil, &fault.Error{Op: "add adapter", Path: x.Name, Err: err, Hint: hint, Exit: fault.ExitUsage}
	}
	if !baselineName.MatchString(x.Name) {
		return fail(errors.New("letters, digits, _ and - can name an adapter"), "--name mine")
	}
	if slices.ContainsFunc(p.Members, func(m Member) bool { return strings.EqualFold(m.Name, x.Name) }) {
		return fail(errors.New("the pool has an adapter of this name"), "choose another --name")
	}
	if slices.ContainsFunc(x.Covers, func(s string) bool { return s == "" || strings.Contains(s, ",") }) {
		return fail(errors.New("what it covers: an empty word, or one with a comma"), "")
	}
	if err := adapter.Validate(x.Adapter, p.Base.Shape); err != nil {
		return fail(err, "is it for "+p.Base.Name+"?")
	}
	if len(x.Directions) == 0 || len(x.Directions[0]) != p.Base.Shape.Dim {
		return fail(errors.New("there are no examples of what it is for"), "crayon customize --template > mine.csv")
	}
	indicator := MeanDirection(x.Directions)
	if norm := Cosine(indicator, indicator); !(math.Abs(float64(norm)-1) < 1e-3) {
		return fail(errors.New("the examples' directions cancel: they have no place in common"), "use examples of one kind")
	}
	one, err := adapter.NewStack([]*adapter.Adapter{x.Adapter})
	if err != nil {
		return fail(err, "")
	}
	if one.Rank+p.Rank() > maxRank {
		return fail(fmt.Errorf("rank %d beside the pool's %d is above %d in all", one.Rank, p.Rank(), maxRank), "")
	}
	e, err := p.edit()
	if err != nil {
		return fail(err, "")
	}
	all := append(slices.Clone(p.Members), Member{Name: x.Name, Rank: one.Rank, Indicator: indicator, Examples: len(x.Directions), Covers: x.Covers})
	if err := e.members(all); err != nil {
		return fail(err, "")
	}
	if err := e.grow(one); err != nil {
		return fail(err, "")
	}
	if err := e.cover(Cover{x.Name, len(x.Directions), indicator}); err != nil {
		return fail(err, "")
	}
	card := p.Made
	card.Sets = append(slices.Clone(card.DataSets()), DataSet{x.Name, len(x.Directions), x.Licence})
	if !slices.Contains(card.Licences, x.Licence) {
		e.set["crayon.made.licences"] = append(slices.Clone(card.Licences), x.Licence)
	}
	setSets(func(k string, v any) { e.set[k] = v }, card.Sets)
	e.changed(when, fmt.Sprintf("added %s, of rank %d, from %s, licence %s, for what %d examples are like", x.Name, one.Rank, x.Source, x.Licence, len(x.Directions)))
	out, err := e.done()
	if err != nil {
		return fail(err, "")
	}
	return out, nil
}

// grow appends an adapter's rows to the stacked sides, with zeros where one of
// the two changes a layer and the other does not.
func (e *edit) grow(one *adapter.Stack) error {
	rank := e.pool.Rank()
	place := map[string]int{}
	for i, t := range e.tensors {
		place[t.Name] = i
	}
	for s := range arch.Slot(e.pool.Base.Shape.Slots()) {
		old, add := e.pool.Stack.Pair(s), one.Pairs[s]
		if old == nil && add == nil {
			continue
		}
		out, in := e.pool.Base.Shape.Shape(s.Kind())
		for _, side := range []struct {
			name string
			cols int
		}{{"a", in}, {"b", out}} {
			rows := make([]float32, one.Rank*side.cols)
			if add != nil && side.name == "a" {
				copy(rows, add.A)
			} else if add != nil {
				transpose(rows, add.B, add.Out, add.Rank)
			}
			name, kind := sideName(s, side.name), e.pool.sides
			i, there := place[name]
			if there {
				kind = e.tensors[i].Type
			}
			fresh, err := gguf.Quantize(kind, rows)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			t := &gguf.Tensor{Name: name, Shape: []int{side.cols, rank + one.Rank}, Type: kind}
			if there {
				t.Data = slices.Concat(e.tensors[i].Data, fresh)
				e.tensors[i] = t
				continue
			}
			zeros, err := gguf.Quantize(kind, make([]float32, rank*side.cols))
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			t.Data = slices.Concat(zeros, fresh)
			e.tensors = append(e.tensors, t)
		}
	}
	return nil
}

// cover appends a place to the coverage, where the file has one.
func (e *edit) cover(c Cover) error {
	if len(e.pool.Coverage) == 0 {
		return nil
	}
	all := append(slices.Clone(e.pool.Coverage), c)
	var values []float32
	for _, x := range all {
		values = append(values, x.Direction...)
	}
	data, err := gguf.Quantize(gguf.F16, values)
	if err != nil {
		return err
	}
	setCoverage(func(k string, v any) { e.set[k] = v }, all)
	for i, t := range e.tensors {
		if t.Name == "coverage" {
			e.tensors[i] = &gguf.Tensor{Name: t.Name, Shape: []int{t.Cols(), len(all)}, Type: gguf.F16, Data: data}
		}
	}
	return nil
}
