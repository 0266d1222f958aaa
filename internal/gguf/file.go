// Package gguf reads and writes GGUF files (ggml/docs/gguf.md in llama.cpp):
// typed keys and named tensors, float or block-quantised, mapped into memory.
// Every length and offset is checked against the file before it is used.
package gguf

import (
	"errors"
	"io/fs"
	"math"

	"crayon/internal/fault"
)

// File is an open GGUF file. It is safe for concurrent reading.
type File struct {
	path    string
	data    []byte
	unmap   func() error
	keys    []string
	values  map[string]any
	tensors []*Tensor
	byName  map[string]*Tensor
}

// Open maps the file at path into memory and reads its header. The file must
// not be changed in place while it is open.
func Open(path string) (*File, error) {
	data, unmap, err := mapFile(path)
	if err != nil {
		hint := hintDamaged
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			hint = "check the path, and that you may read the file"
		}
		return nil, &fault.Error{Op: "open gguf", Path: path, Err: err, Hint: hint}
	}
	f, err := parse(data)
	if err != nil {
		unmap()
		return nil, &fault.Error{Op: "read gguf", Path: path, Err: err, Hint: hintDamaged}
	}
	f.path, f.unmap = path, unmap
	return f, nil
}

// Close gives the memory back; the tensors' Data must not be used after it.
// A second Close does nothing.
func (f *File) Close() error {
	if f.unmap == nil {
		return nil
	}
	unmap := f.unmap
	f.unmap = nil
	f.data = nil
	for _, t := range f.tensors {
		t.Data = nil
	}
	if err := unmap(); err != nil {
		return &fault.Error{Op: "close gguf", Path: f.path, Err: err}
	}
	return nil
}

// Forget gives the memory of what was read so far back to the system: the file
// stays open, and what is needed again is read again.
func (f *File) Forget() {
	if f.unmap != nil {
		forget(f.data)
	}
}

// ForgetEmbedded does so for a file within the program (go:embed), never
// written to.
func ForgetEmbedded(data []byte) { forget(data) }

// Path is where the file was opened; empty after Parse.
func (f *File) Path() string { return f.path }

// Keys are the names of the values, in file order.
func (f *File) Keys() []string { return f.keys }

// Tensors are the tensors, in file order.
func (f *File) Tensors() []*Tensor { return f.tensors }

// Tensor is the tensor of that name, nil if there is none.
func (f *File) Tensor(name string) *Tensor { return f.byName[name] }

// Value is the value of a key as the Go type of the same name (uint8 ... float64,
// bool, string, or a slice of one of them).
func (f *File) Value(key string) (any, bool) {
	v, ok := f.values[key]
	return v, ok
}

// String is the value of a text key.
func (f *File) String(key string) (string, bool) {
	v, ok := f.values[key].(string)
	return v, ok
}

// Bool is the value of a truth key.
func (f *File) Bool(key string) (value, ok bool) {
	value, ok = f.values[key].(bool)
	return value, ok
}

// Uint is the value of an integer key of any width that is not negative.
func (f *File) Uint(key string) (uint64, bool) {
	switch v := f.values[key].(type) {
	case uint8:
		return uint64(v), true
	case uint16:
		return uint64(v), true
	case uint32:
		return uint64(v), true
	case uint64:
		return v, true
	case int8:
		return uint64(v), v >= 0
	case int16:
		return uint64(v), v >= 0
	case int32:
		return uint64(v), v >= 0
	case int64:
		return uint64(v), v >= 0
	}
	return 0, false
}

// Float is the value of a float key of either width.
func (f *File) Float(key string) (float64, bool) {
	switch v := f.values[key].(type) {
	case float32:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// Strings is the value of a key that is an array of texts.
func (f *File) Strings(key string) ([]string, bool) {
	v, ok := f.values[key].([]string)
	return v, ok
}

// Ints is the value of a key that is an array of integers of any width. An
// array with a value above the int64 range is not one.
func (f *File) Ints(key string) ([]int64, bool) {
	switch v := f.values[key].(type) {
	case []uint8:
		return widen(v), true
	case []int8:
		return widen(v), true
	case []uint16:
		return widen(v), true
	case []int16:
		return widen(v), true
	case []uint32:
		return widen(v), true
	case []int32:
		return widen(v), true
	case []int64:
		return widen(v), true
	case []uint64:
		for _, n := range v {
			if n > math.MaxInt64 {
				return nil, false
			}
		}
		return widen(v), true
	}
	return nil, false
}

func widen[T uint8 | int8 | uint16 | int16 | uint32 | int32 | uint64 | int64](v []T) []int64 {
	out := make([]int64, len(v))
	for i, n := range v {
		out[i] = int64(n)
	}
	return out
}

// Floats is the value of a key that is an array of floats of either width.
func (f *File) Floats(key string) ([]float32, bool) {
	switch v := f.values[key].(type) {
	case []float32:
		return v, true
	case []float64:
		out := make([]float32, len(v))
		for i, x := range v {
			out[i] = float32(x)
		}
		return out, true
	}
	return nil, false
}
