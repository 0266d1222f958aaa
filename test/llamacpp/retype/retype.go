// Package retype rewrites GGUF files with their tensors stored in another type.
package retype

import (
	"errors"

	"crayon/internal/fault"
	"crayon/internal/gguf"
)

var errType = errors.New("only F32, F16 and Q8_0 are written")

// fileTypes is the number llama.cpp knows a whole file of a type by
// (general.file_type, enum llama_ftype).
var fileTypes = map[gguf.Type]uint32{gguf.F32: 0, gguf.F16: 1, gguf.Q8_0: 7}

// File writes the GGUF file in as out, with every matrix dequantised and stored
// as t: F32, F16 or Q8_0. Vectors stay F32, as the engines want them, and a
// matrix whose rows are not whole blocks of t becomes F16. All keys stay but
// general.file_type, which names the new type where the old file had one.
func File(in, out string, t gguf.Type) error {
	fileType, ok := fileTypes[t]
	if !ok {
		return &fault.Error{Op: "retype " + t.String(), Path: in, Err: errType}
	}
	f, err := gguf.Open(in)
	if err != nil {
		return err
	}
	defer f.Close()
	b := gguf.NewBuilder()
	for _, key := range f.Keys() {
		v, _ := f.Value(key)
		if key == "general.file_type" {
			v = fileType
		}
		b.Set(key, v)
	}
	for _, x := range f.Tensors() {
		to := t
		if block, _ := t.Block(); x.Cols()%block != 0 {
			to = gguf.F16
		}
		if len(x.Shape) == 1 {
			to = gguf.F32
		}
		values := make([]float32, x.Elements())
		x.Floats(values)
		data, err := gguf.Quantize(to, values)
		if err != nil {
			return &fault.Error{Op: "retype", Path: in + ": " + x.Name, Err: err}
		}
		b.Add(x.Name, x.Shape, to, data)
	}
	return b.WriteFile(out)
}
