package adapter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
)

// peftConfig is what adapter_config.json says about the meaning of the weights.
type peftConfig struct {
	rank      int
	alpha     float64
	rsLoRA    bool // scale alpha/sqrt(r) (arXiv:2312.03732) instead of alpha/r
	ranks     pattern
	alphas    pattern
	baseModel string
}

// ignored are the settings that matter to training, or to finding the modules,
// but not to what the saved weights do.
var ignored = map[string]bool{
	"auto_mapping": true, "revision": true, "inference_mode": true, "peft_version": true, "task_type": true,
	"target_modules": true, "exclude_modules": true, "layers_pattern": true, "layers_to_transform": true,
	"lora_dropout": true, "megatron_config": true, "megatron_core": true, "qalora_group_size": true,
	"eva_config": true, "ensure_weight_tying": true,
}

// refusals are settings that change what the weights do in a way this engine
// has no place for, with the words a user knows them by.
var refusals = map[string]string{
	"use_dora":                "DoRA (use_dora)",
	"modules_to_save":         "whole modules besides the adapter (modules_to_save)",
	"lora_bias":               "biases on B (lora_bias)",
	"fan_in_fan_out":          "transposed weights (fan_in_fan_out)",
	"layer_replication":       "replicated layers (layer_replication)",
	"trainable_token_indices": "trained token embeddings (trainable_token_indices)",
	"alora_invocation_tokens": "activated LoRA (alora_invocation_tokens)",
	"target_parameters":       "adapted parameters outside linear layers (target_parameters)",
	"use_qalora":              "QA-LoRA (use_qalora)",
}

// otherBase are ways of starting the training that take a part out of the base
// weights, so that the saved pair does not fit the base model as it is.
var otherBase = []string{"pissa", "olora", "corda", "loftq", "lora_ga"}

// parseConfig reads an adapter_config.json. It names everything it refuses; a
// setting it does not know is refused unless it is off.
func parseConfig(data []byte) (*peftConfig, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	c := &peftConfig{}
	var kind, bias string
	var start any
	var faults []error
	known := map[string]any{
		"peft_type": &kind, "r": &c.rank, "lora_alpha": &c.alpha, "use_rslora": &c.rsLoRA, "rank_pattern": &c.ranks,
		"alpha_pattern": &c.alphas, "bias": &bias, "base_model_name_or_path": &c.baseModel, "init_lora_weights": &start,
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		value := all[key]
		switch target := known[key]; {
		case target != nil:
			if err := json.Unmarshal(value, target); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", key, err))
			}
		case ignored[key] || off(value):
		case refusals[key] != "":
			faults = append(faults, fmt.Errorf("%s is not supported", refusals[key]))
		default:
			faults = append(faults, fmt.Errorf("the setting %q is not known here, and it is on", key))
		}
	}
	if !strings.EqualFold(kind, "LORA") {
		faults = append(faults, fmt.Errorf("peft_type is %q; only LORA is supported", kind))
	}
	if bias != "" && bias != "none" {
		faults = append(faults, fmt.Errorf("trained biases (bias %q) are not supported", bias))
	}
	if name, ok := start.(string); ok {
		for _, other := range otherBase {
			if strings.HasPrefix(strings.ToLower(name), other) {
				faults = append(faults, fmt.Errorf("init_lora_weights %q changes the base model's weights; convert it to plain LoRA with peft first", name))
			}
		}
	}
	if c.rank < 1 {
		faults = append(faults, fmt.Errorf("r is %d", c.rank))
	}
	if c.alpha == 0 {
		faults = append(faults, errors.New("lora_alpha is 0 or missing"))
	}
	return c, errors.Join(faults...)
}

// off reports whether a setting has a value that switches it off.
func off(value json.RawMessage) bool {
	switch strings.Join(strings.Fields(string(value)), "") {
	case "null", "false", `""`, "{}", "[]", "0":
		return true
	}
	return false
}

// scale is the factor on B A of a module, such as
// "model.layers.0.self_attn.q_proj", whose pair has the given rank.
func (c *peftConfig) scale(module string, rank int) (float64, error) {
	want := c.ranks.value(module, float64(c.rank))
	if want != float64(rank) {
		return 0, fmt.Errorf("its rank is %d, adapter_config.json says %v", rank, want)
	}
	alpha := c.alphas.value(module, c.alpha)
	scale := alpha / want
	if c.rsLoRA {
		scale = alpha / math.Sqrt(want)
	}
	if scale == 0 || scale-scale != 0 || math.Abs(scale) > math.MaxFloat32 {
		return 0, fmt.Errorf("its alpha %v and rank %d give a scale of %v", alpha, rank, scale)
	}
	return scale, nil
}

// pattern is a JSON object from module names to numbers, in its order: a name
// is a regular expression for the end of a module path and the first that
// fits counts.
type pattern []rule

type rule struct {
	name  *regexp.Regexp
	value float64
}

// UnmarshalJSON keeps the order, which a map would lose.
func (p *pattern) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return errors.New("not an object of numbers")
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		r, err := regexp.Compile(`^(?:.*\.)?(?:` + name + `)$`)
		if err != nil {
			return fmt.Errorf("the pattern %q cannot be read: %w", name, err)
		}
		var v float64
		if err := dec.Decode(&v); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		*p = append(*p, rule{r, v})
	}
	if _, err := dec.Token(); err != nil && err != io.EOF {
		return err
	}
	return nil
}

func (p pattern) value(module string, otherwise float64) float64 {
	for _, r := range p {
		if r.name.MatchString(module) {
			return r.value
		}
	}
	return otherwise
}
