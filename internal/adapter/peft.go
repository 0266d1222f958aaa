package adapter

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"crayon/internal/arch"
	"crayon/internal/atomicfile"
	"crayon/internal/fault"
	"crayon/internal/safetensors"
)

// The files of a PEFT adapter folder.
const (
	configFile  = "adapter_config.json"
	weightsFile = "adapter_model.safetensors"
	pickleFile  = "adapter_model.bin"
)

// maxConfig bounds adapter_config.json in bytes; real ones have about a thousand.
const maxConfig = 1 << 20

// ReadPEFT reads an adapter folder saved by Hugging Face's peft for a model of
// shape c: LoRA with rank and alpha patterns or rsLoRA, on any of the seven
// linear layers. All scales are folded into B (Scale is 1), and the rows of B
// on q and k are put in GGUF order. Anything else in the folder is refused by
// name.
func ReadPEFT(dir string, c arch.Config) (*Adapter, error) {
	a, err := readPEFT(dir, c)
	if err != nil {
		return nil, &fault.Error{Op: "read peft adapter", Path: dir, Err: err}
	}
	return a, nil
}

func readPEFT(dir string, c arch.Config) (*Adapter, error) {
	config, err := readConfig(filepath.Join(dir, configFile))
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, weightsFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, pickleFile)); err == nil {
			return nil, &fault.Error{Op: "read", Path: pickleFile, Err: errors.New("a pickle can run any code when it is read; only safetensors is read"),
				Hint: "save it with peft: model.save_pretrained(folder, safe_serialization=True)"}
		}
	}
	file, err := safetensors.Read(path)
	if err != nil {
		return nil, err
	}
	a := &Adapter{Name: filepath.Base(filepath.Clean(dir)), Scale: 1, Pairs: make(map[arch.Slot]*Pair), Source: dir, Base: config.baseModel}
	if err := a.fromPEFT(file, config, c); err != nil {
		return nil, err
	}
	return a, Validate(a, c)
}

func readConfig(path string) (*peftConfig, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxConfig {
		return nil, fmt.Errorf("%s is longer than %d bytes", configFile, maxConfig)
	}
	config, err := parseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", configFile, err)
	}
	return config, nil
}

// module is one adapted module while its two matrices are gathered.
type module struct {
	slot arch.Slot
	path string // within the base model, such as "model.layers.0.self_attn.q_proj"
	a, b matrix
}

func (a *Adapter) fromPEFT(file *safetensors.File, config *peftConfig, c arch.Config) error {
	slots := make(map[string]arch.Slot, c.Slots())
	for s := range arch.Slot(c.Slots()) {
		slots[modulePath(s)] = s
	}
	modules := make(map[arch.Slot]*module)
	var faults []error
	for _, t := range file.Tensors {
		if err := gather(t, slots, modules); err != nil {
			faults = append(faults, fmt.Errorf("tensor %q: %w", t.Name, err))
		}
	}
	for _, m := range modules {
		scale, err := 0.0, error(nil)
		if m.a.values != nil {
			scale, err = config.scale(m.path, m.a.rows)
		}
		var pair *Pair
		if err == nil {
			pair, err = join(m.a, m.b, scale)
		}
		if err == nil {
			if out, _ := c.Shape(m.slot.Kind()); pair.Out == out {
				pair.B = fromHF(pair.B, pair.Rank, m.slot.Kind(), c)
			} // else Validate names the size
			a.Pairs[m.slot] = pair
			continue
		}
		faults = append(faults, fmt.Errorf("%s: %w", m.path, err))
	}
	slices.SortFunc(faults, func(x, y error) int { return strings.Compare(x.Error(), y.Error()) })
	return errors.Join(faults...)
}

// modulePath is a slot's module in a Hugging Face causal model.
func modulePath(s arch.Slot) string {
	return fmt.Sprintf("model.layers.%d.%s", s.Layer(), s.Kind().PEFT())
}

// gather sorts one tensor of the file in, or says why it has no place.
func gather(t *safetensors.Tensor, slots map[string]arch.Slot, modules map[arch.Slot]*module) error {
	name := strings.TrimPrefix(t.Name, "base_model.model.")
	for _, other := range []struct{ part, what string }{
		{"lora_magnitude_vector", "DoRA is not supported"},
		{"lora_embedding_", "adapted embeddings are not supported"},
		{"lora_B.bias", "biases on B (lora_bias) are not supported"},
		{"modules_to_save", "modules_to_save is not supported"},
	} {
		if strings.Contains(name, other.part) {
			return errors.New(other.what)
		}
	}
	path, rest, found := strings.Cut(name, ".lora_")
	which, tail, _ := strings.Cut(rest, ".")
	// A state dict taken from the model itself names the adapter, "default".
	if !found || (which != "A" && which != "B") || (tail != "weight" && tail != "default.weight") {
		return errors.New("it is not part of a LoRA pair")
	}
	slot, ok := slots[path]
	if !ok {
		// An adapter made on the model without its head has one "model." less.
		if slot, ok = slots["model."+path]; !ok {
			return errors.New("the model has no such linear layer")
		}
	}
	if len(t.Shape) != 2 {
		return fmt.Errorf("its shape is %v, not a matrix", t.Shape)
	}
	m := modules[slot]
	if m == nil {
		m = &module{slot: slot, path: path}
		modules[slot] = m
	}
	into := &m.a
	if which == "B" {
		into = &m.b
	}
	if into.values != nil {
		return errors.New("the layer has this matrix already, under another name")
	}
	*into = matrix{rows: t.Shape[0], cols: t.Shape[1], values: t.Floats()}
	return nil
}

// WritePEFT saves the adapter as a folder that peft loads on the Hugging Face
// model named baseName: float32, one rank for all modules (pairs of lower rank
// are padded with zeros), the scale in B and lora_alpha = r, so that peft's
// own factor is 1. The config is written last: a folder that was cut short
// has none and is not loaded.
func WritePEFT(dir string, a *Adapter, c arch.Config, baseName string) error {
	if err := writePEFT(dir, a, c, baseName); err != nil {
		return &fault.Error{Op: "write peft adapter", Path: dir, Err: err, Hint: atomicfile.Hint(err, filepath.Join(dir, configFile))}
	}
	return nil
}

func writePEFT(dir string, a *Adapter, c arch.Config, baseName string) error {
	if err := Validate(a, c); err != nil {
		return err
	}
	rank := a.Rank()
	file := &safetensors.File{Metadata: map[string]string{"format": "pt"}}
	for _, slot := range a.Slots() {
		p := a.Pairs[slot].padded(rank)
		b := toHF(scaled(p.B, a.Scale), rank, slot.Kind(), c)
		for _, m := range []struct {
			name  string
			shape []int
			v     []float32
		}{{"A", []int{rank, p.In}, p.A}, {"B", []int{p.Out, rank}, b}} {
			t, err := safetensors.New("base_model.model."+modulePath(slot)+".lora_"+m.name+".weight", m.shape, safetensors.F32, m.v)
			if err != nil {
				return err
			}
			file.Tensors = append(file.Tensors, t)
		}
	}
	config, err := json.MarshalIndent(map[string]any{
		"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": baseName, "revision": nil,
		"r": rank, "lora_alpha": rank, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": false, "inference_mode": true,
		"init_lora_weights": true, "target_modules": targets(a, c), "rank_pattern": map[string]int{}, "alpha_pattern": map[string]int{},
		"use_rslora": false, "use_dora": false, "modules_to_save": nil, "layers_to_transform": nil, "layers_pattern": nil, "auto_mapping": nil,
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	configPath := filepath.Join(dir, configFile)
	if err := os.Remove(configPath); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := file.WriteFile(filepath.Join(dir, weightsFile)); err != nil {
		return err
	}
	return atomicfile.Write(configPath, func(w io.Writer) error {
		_, err := w.Write(append(config, '\n'))
		return err
	})
}

// targets names the modules the adapter changes: by kind ("q_proj") where every
// layer has it, else each by its path, as peft would make up the missing ones.
func targets(a *Adapter, c arch.Config) []string {
	var count [arch.Kinds]int
	for slot := range a.Pairs {
		count[slot.Kind()]++
	}
	var names []string
	for k := range arch.Kinds {
		if count[k] == c.Layers {
			names = append(names, k.PEFT()[strings.LastIndex(k.PEFT(), ".")+1:])
			continue
		}
		for _, slot := range a.Slots() {
			if slot.Kind() == k {
				names = append(names, modulePath(slot))
			}
		}
	}
	return names
}
