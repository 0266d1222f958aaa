package adapter

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
)

// ReadGGUF reads a LoRA adapter in llama.cpp's GGUF form (what its
// convert_lora_to_gguf.py writes) for a model of shape c. The factor
// alpha/rank is folded into B (Scale is 1).
func ReadGGUF(path string, c arch.Config) (*Adapter, error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a, err := fromGGUF(f, c)
	if err == nil {
		a.Name, a.Source = strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), path
		err = Validate(a, c)
	}
	if err != nil {
		return nil, &fault.Error{Op: "read gguf adapter", Path: path, Err: err}
	}
	return a, nil
}

func fromGGUF(f *gguf.File, c arch.Config) (*Adapter, error) {
	text := func(key string) string {
		s, _ := f.String(key)
		return s
	}
	if kind := text("general.type"); kind != "adapter" {
		return nil, fmt.Errorf("general.type is %q, not adapter: is this a model?", kind)
	}
	var faults []error
	if kind := text("adapter.type"); kind != "lora" {
		faults = append(faults, fmt.Errorf("adapter.type %q is not supported; lora is", kind))
	}
	if family := text("general.architecture"); family != c.Family {
		faults = append(faults, fmt.Errorf("it is for the architecture %q, the model's is %q", family, c.Family))
	}
	if _, there := f.Value("adapter.alora.invocation_tokens"); there {
		faults = append(faults, errors.New("activated LoRA (adapter.alora.invocation_tokens) is not supported"))
	}
	// Without an alpha, or with 0, llama.cpp applies B A as it is.
	alpha, _ := f.Float("adapter.lora.alpha")
	if math.IsNaN(alpha) || math.IsInf(alpha, 0) {
		faults = append(faults, fmt.Errorf("adapter.lora.alpha is %v", alpha))
	}
	slots := make(map[string]arch.Slot, c.Slots())
	for s := range arch.Slot(c.Slots()) {
		slots[s.Tensor()] = s
	}
	parts := make(map[arch.Slot]*[2]matrix)
	for _, t := range f.Tensors() {
		name, isA := strings.CutSuffix(t.Name, ".lora_a")
		name, isB := strings.CutSuffix(name, ".lora_b")
		slot, ok := slots[name]
		switch {
		case !isA && !isB:
			faults = append(faults, fmt.Errorf("tensor %q is not part of a LoRA pair", t.Name))
			continue
		case !ok:
			faults = append(faults, fmt.Errorf("tensor %q: the model has no such linear layer", t.Name))
			continue
		case len(t.Shape) != 2:
			faults = append(faults, fmt.Errorf("tensor %q: its shape is %v, not a matrix", t.Name, t.Shape))
			continue
		}
		if parts[slot] == nil {
			parts[slot] = new([2]matrix)
		}
		m := matrix{rows: t.Rows(), cols: t.Cols(), values: make([]float32, t.Elements())}
		t.Floats(m.values)
		if isA {
			parts[slot][0] = m
		} else {
			parts[slot][1] = m
		}
	}
	a := &Adapter{Scale: 1, Pairs: make(map[arch.Slot]*Pair), Base: text("general.base_model.0.name")}
	for _, slot := range slices.Sorted(maps.Keys(parts)) {
		ab, scale := parts[slot], 1.0
		if alpha != 0 && ab[1].cols > 0 {
			scale = alpha / float64(ab[1].cols)
		}
		pair, err := join(ab[0], ab[1], scale)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", slot.Tensor(), err))
			continue
		}
		a.Pairs[slot] = pair
	}
	return a, errors.Join(faults...)
}

// WriteGGUF saves the adapter in llama.cpp's GGUF form as float32. The scale is
// in B, all pairs have one rank (lower ones are padded with zeros), and alpha
// is that rank, so that llama.cpp's own factor is 1.
func WriteGGUF(path string, a *Adapter, c arch.Config) error {
	return WriteGGUFAs(path, a, c, gguf.F32)
}

// WriteGGUFAs is WriteGGUF with the weights stored as F32, F16 or Q8_0. With
// Q8_0 a matrix whose rows are not whole blocks of 32 (B, at most ranks) is
// stored as F16.
func WriteGGUFAs(path string, a *Adapter, c arch.Config, t gguf.Type) error {
	b, err := toGGUF(a, c, t)
	if err == nil {
		err = b.WriteFile(path)
	}
	if err != nil {
		return &fault.Error{Op: "write gguf adapter", Path: path, Err: err}
	}
	return nil
}

// BytesGGUF is the file that WriteGGUFAs writes.
func BytesGGUF(a *Adapter, c arch.Config, t gguf.Type) ([]byte, error) {
	b, err := toGGUF(a, c, t)
	var out bytes.Buffer
	if err == nil {
		_, err = b.WriteTo(&out)
	}
	if err != nil {
		return nil, &fault.Error{Op: "write gguf adapter", Path: a.Name, Err: err}
	}
	return out.Bytes(), nil
}

func toGGUF(a *Adapter, c arch.Config, t gguf.Type) (*gguf.Builder, error) {
	if t != gguf.F32 && t != gguf.F16 && t != gguf.Q8_0 {
		return nil, fmt.Errorf("adapters are written as F32, F16 or Q8_0, not %v", t)
	}
	if err := Validate(a, c); err != nil {
		return nil, err
	}
	rank := a.Rank()
	b := gguf.NewBuilder()
	b.Set("general.architecture", c.Family)
	b.Set("general.type", "adapter")
	b.Set("general.name", a.Name)
	b.Set("adapter.type", "lora")
	b.Set("adapter.lora.alpha", float32(rank))
	if a.Base != "" {
		b.Set("general.base_model.count", uint32(1))
		b.Set("general.base_model.0.name", a.Base)
	}
	for _, slot := range a.Slots() {
		p := a.Pairs[slot].padded(rank)
		for _, m := range []struct {
			suffix     string
			cols, rows int
			values     []float32
		}{{".lora_a", p.In, rank, p.A}, {".lora_b", rank, p.Out, scaled(p.B, a.Scale)}} {
			kind := t
			if values, _ := t.Block(); m.cols%values != 0 {
				kind = gguf.F16
			}
			data, err := gguf.Quantize(kind, m.values)
			if err != nil {
				return nil, fmt.Errorf("%s%s: %w", slot.Tensor(), m.suffix, err)
			}
			b.Add(slot.Tensor()+m.suffix, []int{m.cols, m.rows}, kind, data)
		}
	}
	return b, nil
}
