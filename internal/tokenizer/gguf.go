package tokenizer

import (
	"errors"
	"fmt"

	"crayon/internal/fault"
	"crayon/internal/gguf"
)

// FromGGUF reads the tokenizer of a model file. Only byte-level BPE
// (tokenizer.ggml.model gpt2) with a pre-tokenizer Crayon knows is accepted.
func FromGGUF(f *gguf.File) (*Tokenizer, error) {
	bad := func(hint, format string, args ...any) (*Tokenizer, error) {
		return nil, &fault.Error{Op: "read tokenizer", Path: f.Path(), Err: fmt.Errorf(format, args...), Hint: hint}
	}
	const again = "fetch the model again: its vocabulary is damaged or missing"
	if kind, _ := f.String("tokenizer.ggml.model"); kind != "gpt2" {
		return bad("use a model with a byte-level BPE vocabulary, such as `crayon pull smollm2-135m`",
			"tokenizer.ggml.model is %q, Crayon reads gpt2", kind)
	}
	v := Vocab{EOS: -1, BOS: -1}
	v.Pre, _ = f.String("tokenizer.ggml.pre")
	var ok bool
	if v.Tokens, ok = f.Strings("tokenizer.ggml.tokens"); !ok {
		return bad(again, "tokenizer.ggml.tokens is missing or not text")
	}
	if v.Merges, ok = f.Strings("tokenizer.ggml.merges"); !ok {
		return bad(again, "tokenizer.ggml.merges is missing or not text")
	}
	types, ok := f.Ints("tokenizer.ggml.token_type")
	if !ok || len(types) != len(v.Tokens) {
		return bad(again, "tokenizer.ggml.token_type has %d entries for %d tokens", len(types), len(v.Tokens))
	}
	v.Types = make([]int32, len(types))
	for i, t := range types {
		v.Types[i] = int32(t)
	}
	for key, id := range map[string]*int32{"tokenizer.ggml.eos_token_id": &v.EOS, "tokenizer.ggml.bos_token_id": &v.BOS} {
		if _, present := f.Value(key); !present {
			continue
		}
		n, ok := f.Uint(key)
		if !ok || n >= uint64(len(v.Tokens)) {
			return bad(again, "%s is not an id of the vocabulary", key)
		}
		*id = int32(n)
	}
	if v.AddBOS, ok = f.Bool("tokenizer.ggml.add_bos_token"); !ok {
		// llama 3 files leave the key out and mean yes.
		v.AddBOS = v.Pre == "llama-bpe" || v.Pre == "llama-v3" || v.Pre == "llama3"
	}
	t, err := New(v)
	if err != nil {
		var e *fault.Error
		if errors.As(err, &e) {
			return nil, &fault.Error{Op: "read tokenizer", Path: f.Path(), Err: e.Err, Hint: e.Hint}
		}
		return nil, err
	}
	return t, nil
}
