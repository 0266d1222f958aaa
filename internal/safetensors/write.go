package safetensors

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"

	"crayon/internal/atomicfile"
	"crayon/internal/fault"
	"crayon/internal/half"
)

// New is a tensor of values stored as F32 or F16. NaN and infinite values, and
// those too large for F16, are refused.
func New(name string, shape []int, t Type, values []float32) (*Tensor, error) {
	tensor := &Tensor{Name: name, Shape: shape, Type: t}
	err := tensor.store(values)
	if err != nil {
		return nil, &fault.Error{Op: "store tensor", Path: name, Err: err}
	}
	return tensor, nil
}

func (t *Tensor) store(values []float32) error {
	if t.Type != F32 && t.Type != F16 {
		return fmt.Errorf("the type %s is not written", t.Type)
	}
	for _, d := range t.Shape {
		if d < 0 {
			return fmt.Errorf("its shape is %v", t.Shape)
		}
	}
	if t.Elements() != len(values) {
		return fmt.Errorf("shape %v does not hold %d values", t.Shape, len(values))
	}
	t.Data = make([]byte, 0, t.Type.size()*len(values))
	for i, v := range values {
		if v-v != 0 {
			return fmt.Errorf("value %d is %v", i, v)
		}
		if t.Type == F32 {
			t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
			continue
		}
		h := half.Bits(v)
		if !half.Finite(h) {
			return fmt.Errorf("value %d, %v, is too large for F16", i, v)
		}
		t.Data = binary.LittleEndian.AppendUint16(t.Data, h)
	}
	return nil
}

// header is the length and the JSON, padded with blanks to whole eights so
// that the data is aligned.
func (f *File) header() ([]byte, error) {
	text := []byte("{")
	add := func(name string, v any) error {
		key, err := json.Marshal(name)
		if err != nil {
			return err
		}
		value, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(append(append(text, key...), ':'), value...)
		return nil
	}
	if len(f.Metadata) > 0 {
		if err := add(metadataKey, f.Metadata); err != nil {
			return nil, err
		}
	}
	seen, offset := map[string]bool{metadataKey: true}, uint64(0)
	for _, t := range f.Tensors {
		if seen[t.Name] {
			return nil, fmt.Errorf("the name %q cannot be used, or is used twice", t.Name)
		}
		seen[t.Name] = true
		e := entry{Type: t.Type, Shape: make([]uint64, len(t.Shape)), Offsets: []uint64{offset, offset + uint64(len(t.Data))}}
		for i, d := range t.Shape {
			e.Shape[i] = uint64(d)
		}
		if err := add(t.Name, e); err != nil {
			return nil, err
		}
		offset += uint64(len(t.Data))
	}
	text = append(text, '}')
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	if len(text) > maxHeader {
		return nil, errors.New("the header is too long")
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), nil
}

// WriteTo writes the file to w and gives the number of bytes written.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	n, err := f.writeTo(w)
	if err != nil {
		return n, &fault.Error{Op: "write safetensors", Err: err}
	}
	return n, nil
}

func (f *File) writeTo(w io.Writer) (int64, error) {
	head, err := f.header()
	if err != nil {
		return 0, err
	}
	size, err := w.Write(head)
	n := int64(size)
	for _, t := range f.Tensors {
		if err != nil {
			break
		}
		size, err = w.Write(t.Data)
		n += int64(size)
	}
	return n, err
}

// WriteFile writes the file at path whole or not at all.
func (f *File) WriteFile(path string) error {
	err := atomicfile.Write(path, func(w io.Writer) error {
		_, err := f.writeTo(w)
		return err
	})
	if err != nil {
		return &fault.Error{Op: "write safetensors", Path: path, Err: err, Hint: atomicfile.Hint(err, path)}
	}
	return nil
}
