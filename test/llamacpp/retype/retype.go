// Package retype rewrites GGUF models with their tensors in another type.
package retype

import (
	"crayon/internal/fault"
	"crayon/internal/gguf"
)

// Float32 writes the GGUF file in as out with every tensor dequantised to F32.
// All keys stay but general.file_type, which names the new type where the old
// file had one.
func Float32(in, out string) error {
	f, err := gguf.Open(in)
	if err != nil {
		return err
	}
	defer f.Close()
	b := gguf.NewBuilder()
	for _, key := range f.Keys() {
		v, _ := f.Value(key)
		if key == "general.file_type" {
			v = uint32(0) // LLAMA_FTYPE_ALL_F32
		}
		b.Set(key, v)
	}
	for _, t := range f.Tensors() {
		values := make([]float32, t.Elements())
		t.Floats(values)
		data, err := gguf.Quantize(gguf.F32, values)
		if err != nil {
			return &fault.Error{Op: "write as F32", Path: in + ": " + t.Name, Err: err}
		}
		b.Add(t.Name, t.Shape, gguf.F32, data)
	}
	return b.WriteFile(out)
}
