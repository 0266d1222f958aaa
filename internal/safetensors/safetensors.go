// Package safetensors reads and writes safetensors files
// (github.com/huggingface/safetensors, "Format"): eight bytes of header
// length, a JSON header, and the tensors' bytes without gap or overlap.
package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"os"
	"slices"
	"unicode/utf8"

	"crayon/internal/fault"
	"crayon/internal/half"
)

// maxHeader is the format's own bound on the JSON header, in bytes.
const maxHeader = 100_000_000

// metadataKey is the header entry that is not a tensor.
const metadataKey = "__metadata__"

// Type is a tensor's storage type by the format's name.
type Type string

// The storage types that are read; BF16 is not written.
const (
	F32  Type = "F32"
	F16  Type = "F16"
	BF16 Type = "BF16"
)

// size is bytes a value, 0 for a type that is not read.
func (t Type) size() int {
	switch t {
	case F32:
		return 4
	case F16, BF16:
		return 2
	}
	return 0
}

// Tensor is one tensor, row-major: the last dimension varies fastest.
type Tensor struct {
	Name  string
	Shape []int // empty for a single value
	Type  Type
	Data  []byte
}

// Elements is the number of values.
func (t *Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Floats are the tensor's values.
func (t *Tensor) Floats() []float32 {
	out := make([]float32, t.Elements())
	for i := range out {
		switch t.Type {
		case F32:
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		case F16:
			out[i] = half.Float32(binary.LittleEndian.Uint16(t.Data[2*i:]))
		case BF16:
			out[i] = half.Brain(binary.LittleEndian.Uint16(t.Data[2*i:]))
		}
	}
	return out
}

// File is a file's tensors, in the order of their bytes, and its metadata.
type File struct {
	Tensors  []*Tensor
	Metadata map[string]string
}

// Tensor is the tensor of that name, nil if there is none.
func (f *File) Tensor(name string) *Tensor {
	for _, t := range f.Tensors {
		if t.Name == name {
			return t
		}
	}
	return nil
}

const hintDamaged = "save or fetch the file again"

// maxFile bounds in bytes what Read takes into memory, far above any adapter.
const maxFile = 4 << 30

// Read reads the file at path into memory.
func Read(path string) (*File, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errors.New("not a regular file")
	case info.Size() > maxFile:
		err = fmt.Errorf("%d bytes are more than the %d that are read", info.Size(), int64(maxFile))
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, &fault.Error{Op: "read safetensors", Path: path, Err: err}
	}
	f, err := parse(data)
	if err != nil {
		return nil, &fault.Error{Op: "read safetensors", Path: path, Err: err, Hint: hintDamaged}
	}
	return f, nil
}

// Parse reads a file held in memory; the tensors are views of data.
func Parse(data []byte) (*File, error) {
	f, err := parse(data)
	if err != nil {
		return nil, &fault.Error{Op: "read safetensors", Err: err, Hint: hintDamaged}
	}
	return f, nil
}

// entry is a tensor's description in the header.
type entry struct {
	Type    Type     `json:"dtype"`
	Shape   []uint64 `json:"shape"`
	Offsets []uint64 `json:"data_offsets"`
}

func parse(data []byte) (*File, error) {
	if len(data) < 8 {
		return nil, errors.New("the file ends inside its header")
	}
	size := binary.LittleEndian.Uint64(data)
	switch {
	case size > maxHeader:
		return nil, fmt.Errorf("not a safetensors file: its header would be %d bytes, the limit is %d", size, maxHeader)
	case size > uint64(len(data)-8):
		return nil, fmt.Errorf("the header takes %d bytes, the file has %d left", size, len(data)-8)
	}
	head, body := data[8:8+size], data[8+size:]
	if len(head) == 0 || head[0] != '{' {
		return nil, errors.New("not a safetensors file: its header is not a JSON object")
	}
	if !utf8.Valid(head) {
		return nil, errors.New("the header is not UTF-8")
	}
	f, starts := &File{}, make(map[*Tensor]uint64)
	if err := f.readHeader(head, body, starts); err != nil {
		return nil, err
	}
	slices.SortStableFunc(f.Tensors, func(a, b *Tensor) int {
		if starts[a] != starts[b] {
			if starts[a] < starts[b] {
				return -1
			}
			return 1
		}
		return len(a.Data) - len(b.Data) // an empty tensor stands before the one that begins there
	})
	end := uint64(0)
	for _, t := range f.Tensors {
		switch start := starts[t]; {
		case start < end:
			return nil, fmt.Errorf("tensor %q overlaps the one before it", t.Name)
		case start > end:
			return nil, fmt.Errorf("%d bytes before tensor %q belong to no tensor", start-end, t.Name)
		}
		end += uint64(len(t.Data))
	}
	if end != uint64(len(body)) {
		return nil, fmt.Errorf("%d bytes at the end belong to no tensor", uint64(len(body))-end)
	}
	return f, nil
}

// readHeader goes through the JSON token by token, as a map would hide names
// that stand twice.
func (f *File) readHeader(head, body []byte, starts map[*Tensor]uint64) error {
	dec := json.NewDecoder(bytes.NewReader(head))
	dec.DisallowUnknownFields()
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	seen := make(map[string]bool)
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return fmt.Errorf("header: %w", err)
		}
		name, _ := token.(string)
		if seen[name] {
			return fmt.Errorf("%q stands twice in the header", name)
		}
		seen[name] = true
		if name == metadataKey {
			if err := dec.Decode(&f.Metadata); err != nil {
				return fmt.Errorf("header, %s: %w", metadataKey, err)
			}
			continue
		}
		var e entry
		if err := dec.Decode(&e); err != nil {
			return fmt.Errorf("header, tensor %q: %w", name, err)
		}
		t, err := e.tensor(name, body)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		f.Tensors = append(f.Tensors, t)
		starts[t] = e.Offsets[0]
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return fmt.Errorf("header: %w", err)
	}
	if _, err := dec.Token(); err != io.EOF { // only blanks may follow
		return errors.New("header: there is more after the object")
	}
	return nil
}

func (e *entry) tensor(name string, body []byte) (*Tensor, error) {
	size := e.Type.size()
	if size == 0 {
		return nil, fmt.Errorf("its type %q is not read; F32, F16 and BF16 are", e.Type)
	}
	if len(e.Offsets) != 2 || e.Offsets[0] > e.Offsets[1] || e.Offsets[1] > uint64(len(body)) {
		return nil, fmt.Errorf("its data_offsets %v are not within the %d bytes of data", e.Offsets, len(body))
	}
	t := &Tensor{Name: name, Type: e.Type, Shape: make([]int, len(e.Shape)), Data: body[e.Offsets[0]:e.Offsets[1]:e.Offsets[1]]}
	want := uint64(size)
	for i, d := range e.Shape {
		// A dimension of zero makes the others meaningless, not harmless.
		high, product := bits.Mul64(want, d)
		if d > math.MaxInt32 || high != 0 || product > math.MaxInt64 {
			return nil, fmt.Errorf("its shape %v is too large", e.Shape)
		}
		t.Shape[i], want = int(d), product
	}
	if want != uint64(len(t.Data)) {
		return nil, fmt.Errorf("%s of shape %v takes %d bytes, not %d", e.Type, e.Shape, want, len(t.Data))
	}
	return t, nil
}
