package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"crayon/internal/atomicfile"
	"crayon/internal/fault"
)

// Builder gathers keys and tensors and writes them as a GGUF file, version 3.
// What was wrong with a Set or Add is told by the write.
type Builder struct {
	keys    []string
	values  map[string]any
	tensors []*Tensor
	names   map[string]bool
	errs    []error
}

// NewBuilder is an empty file.
func NewBuilder() *Builder {
	return &Builder{values: make(map[string]any), names: make(map[string]bool)}
}

// Set gives a key a value: an integer, float or bool of a GGUF width, a
// string, or a slice of one of them. A second Set of a key replaces the value
// in its place.
func (b *Builder) Set(key string, v any) {
	if kind, _ := encode(nil, v); kind == kindUnknown || key == "" {
		b.errs = append(b.errs, fmt.Errorf("key %q: GGUF has no value of type %T", key, v))
		return
	}
	if _, there := b.values[key]; !there {
		b.keys = append(b.keys, key)
	}
	b.values[key] = v
}

// Add appends a tensor: shape in ne order, data already stored as t. The data
// is not copied; it must stay as it is until the write.
func (b *Builder) Add(name string, shape []int, t Type, data []byte) {
	if err := b.check(name, shape, t, len(data)); err != nil {
		b.errs = append(b.errs, fmt.Errorf("tensor %q: %w", name, err))
		return
	}
	b.names[name] = true
	b.tensors = append(b.tensors, &Tensor{Name: name, Shape: slices.Clone(shape), Type: t, Data: data})
}

func (b *Builder) check(name string, shape []int, t Type, size int) error {
	values, bytes := t.Block()
	switch {
	case name == "":
		return errors.New("it has no name")
	case b.names[name]:
		return errors.New("it was added twice")
	case values == 0:
		return fmt.Errorf("the type %v is not written", t)
	case len(shape) == 0 || len(shape) > maxDims:
		return fmt.Errorf("it has %d dimensions", len(shape))
	case shape[0]%values != 0:
		return fmt.Errorf("its rows of %d values are not whole %v blocks of %d", shape[0], t, values)
	}
	want := bytes
	for i, d := range shape {
		if i == 0 {
			d /= values
		}
		if d < 1 || want > math.MaxInt/d {
			return fmt.Errorf("its shape is %v", shape)
		}
		want *= d
	}
	if want != size {
		return fmt.Errorf("%v of shape %v takes %d bytes, not %d", t, shape, want, size)
	}
	return nil
}

const kindUnknown = ^uint32(0)

// encode appends v's bytes to dst and gives its kind.
func encode(dst []byte, v any) (kind uint32, out []byte) {
	le := binary.LittleEndian
	switch v := v.(type) {
	case uint8:
		return kindUint8, append(dst, v)
	case int8:
		return kindInt8, append(dst, byte(v))
	case uint16:
		return kindUint16, le.AppendUint16(dst, v)
	case int16:
		return kindInt16, le.AppendUint16(dst, uint16(v))
	case uint32:
		return kindUint32, le.AppendUint32(dst, v)
	case int32:
		return kindInt32, le.AppendUint32(dst, uint32(v))
	case uint64:
		return kindUint64, le.AppendUint64(dst, v)
	case int64:
		return kindInt64, le.AppendUint64(dst, uint64(v))
	case float32:
		return kindFloat32, le.AppendUint32(dst, math.Float32bits(v))
	case float64:
		return kindFloat64, le.AppendUint64(dst, math.Float64bits(v))
	case bool:
		if v {
			return kindBool, append(dst, 1)
		}
		return kindBool, append(dst, 0)
	case string:
		return kindString, append(le.AppendUint64(dst, uint64(len(v))), v...)
	case []uint8:
		return encodeArray(dst, v, kindUint8)
	case []int8:
		return encodeArray(dst, v, kindInt8)
	case []uint16:
		return encodeArray(dst, v, kindUint16)
	case []int16:
		return encodeArray(dst, v, kindInt16)
	case []uint32:
		return encodeArray(dst, v, kindUint32)
	case []int32:
		return encodeArray(dst, v, kindInt32)
	case []uint64:
		return encodeArray(dst, v, kindUint64)
	case []int64:
		return encodeArray(dst, v, kindInt64)
	case []float32:
		return encodeArray(dst, v, kindFloat32)
	case []float64:
		return encodeArray(dst, v, kindFloat64)
	case []bool:
		return encodeArray(dst, v, kindBool)
	case []string:
		return encodeArray(dst, v, kindString)
	}
	return kindUnknown, dst
}

func encodeArray[T any](dst []byte, v []T, element uint32) (uint32, []byte) {
	dst = binary.LittleEndian.AppendUint32(dst, element)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(v)))
	for i := range v {
		_, dst = encode(dst, v[i])
	}
	return kindArray, dst
}

// header is the file up to the tensor data, padding included, and the
// alignment of the tensors.
func (b *Builder) header() (head []byte, align int, err error) {
	align = defaultAlignment
	if v, there := b.values[alignmentKey]; there {
		n, ok := v.(uint32)
		if !ok || n == 0 || n > maxAlignment || n&(n-1) != 0 {
			b.errs = append(b.errs, fmt.Errorf("%s is %v, not a uint32 power of two up to %d", alignmentKey, v, maxAlignment))
		}
		align = int(n)
	}
	if err := errors.Join(b.errs...); err != nil {
		return nil, 0, err
	}
	le := binary.LittleEndian
	head = append(head, magic...)
	head = le.AppendUint32(head, 3)
	head = le.AppendUint64(head, uint64(len(b.tensors)))
	head = le.AppendUint64(head, uint64(len(b.keys)))
	for _, key := range b.keys {
		_, head = encode(head, key)
		at := len(head)
		head = append(head, 0, 0, 0, 0)
		var kind uint32
		kind, head = encode(head, b.values[key])
		le.PutUint32(head[at:], kind)
	}
	offset := 0
	for _, t := range b.tensors {
		_, head = encode(head, t.Name)
		head = le.AppendUint32(head, uint32(len(t.Shape)))
		for _, d := range t.Shape {
			head = le.AppendUint64(head, uint64(d))
		}
		head = le.AppendUint32(head, uint32(t.Type))
		head = le.AppendUint64(head, uint64(offset))
		offset += padded(len(t.Data), align)
	}
	return append(head, make([]byte, padded(len(head), align)-len(head))...), align, nil
}

func padded(n, align int) int { return (n + align - 1) &^ (align - 1) }

// WriteTo writes the file to w and gives the number of bytes written.
func (b *Builder) WriteTo(w io.Writer) (int64, error) {
	n, err := b.writeTo(w)
	if err != nil {
		return n, &fault.Error{Op: "write gguf", Err: err}
	}
	return n, nil
}

func (b *Builder) writeTo(w io.Writer) (int64, error) {
	head, align, err := b.header()
	if err != nil {
		return 0, err
	}
	size, err := w.Write(head)
	n := int64(size)
	if err != nil {
		return n, err
	}
	for _, t := range b.tensors {
		for _, part := range [][]byte{t.Data, make([]byte, padded(len(t.Data), align)-len(t.Data))} {
			size, err := w.Write(part)
			n += int64(size)
			if err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// WriteFile writes the file at path whole or not at all: through a temporary
// file beside it, synced and renamed.
func (b *Builder) WriteFile(path string) error {
	err := atomicfile.Write(path, func(w io.Writer) error {
		_, err := b.writeTo(w)
		return err
	})
	if err != nil {
		return &fault.Error{Op: "write gguf", Path: path, Err: err, Hint: atomicfile.Hint(err, path)}
	}
	return nil
}
