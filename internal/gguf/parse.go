package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"crayon/internal/fault"
)

// The numbers of GGUF's value types (ggml/docs/gguf.md).
const (
	kindUint8 uint32 = iota
	kindInt8
	kindUint16
	kindInt16
	kindUint32
	kindInt32
	kindFloat32
	kindBool
	kindString
	kindArray
	kindUint64
	kindInt64
	kindFloat64
)

const (
	magic            = "GGUF"
	defaultAlignment = 32
	maxAlignment     = 1 << 20
	maxDims          = 4
	alignmentKey     = "general.alignment"
)

var errTruncated = errors.New("the file ends inside its header")

// Parse reads a GGUF file (version 2 or 3, little-endian) held in memory.
// The tensors are views of data.
func Parse(data []byte) (*File, error) {
	f, err := parse(data)
	if err != nil {
		return nil, &fault.Error{Op: "read gguf", Err: err, Hint: hintDamaged}
	}
	return f, nil
}

const hintDamaged = "fetch the file again, or convert it again with llama.cpp"

// cursor walks a header. After the first failure everything reads as zero and
// err says why.
type cursor struct {
	data []byte
	pos  int
	err  error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *cursor) left() int { return len(c.data) - c.pos }

func (c *cursor) bytes(n int) []byte {
	if c.err != nil || n > c.left() {
		c.fail(errTruncated)
		return nil
	}
	b := c.data[c.pos : c.pos+n]
	c.pos += n
	return b
}

func (c *cursor) u8() uint8 {
	if b := c.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.bytes(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// count reads a 64-bit count of things that take at least size bytes each.
func (c *cursor) count(what string, size int) int {
	n := c.u64()
	if c.err == nil && n > uint64(c.left()/size) {
		c.fail(fmt.Errorf("%d %s cannot fit in the %d bytes left", n, what, c.left()))
		return 0
	}
	return int(n)
}

func (c *cursor) str() string { return string(c.bytes(c.count("bytes of text", 1))) }

// array reads n scalars of size bytes.
func array[T any](c *cursor, n, size int, get func([]byte) T) []T {
	if n > c.left()/size {
		c.fail(fmt.Errorf("an array of %d values cannot fit in the %d bytes left", n, c.left()))
	}
	b := c.bytes(n * size)
	if c.err != nil {
		return nil
	}
	out := make([]T, n)
	for i := range out {
		out[i] = get(b[i*size:])
	}
	return out
}

// strings reads n strings. They share one copy of their bytes: a vocabulary is
// a hundred thousand of them.
func (c *cursor) strings(n int) []string {
	if n > c.left()/8 {
		c.fail(fmt.Errorf("an array of %d strings cannot fit in the %d bytes left", n, c.left()))
		return nil
	}
	start := c.pos
	for range n {
		c.bytes(c.count("bytes of text", 1))
	}
	if c.err != nil {
		return nil
	}
	text, out := string(c.data[start:c.pos]), make([]string, n)
	at := 0
	for i := range out {
		size := int(binary.LittleEndian.Uint64(c.data[start+at:]))
		out[i] = text[at+8 : at+8+size]
		at += 8 + size
	}
	return out
}

func toBool(b byte) (bool, error) {
	if b > 1 {
		return false, fmt.Errorf("a truth value is %d", b)
	}
	return b == 1, nil
}

// value reads one value of the given kind as the Go type of the same name.
func (c *cursor) value(kind uint32) any {
	switch kind {
	case kindUint8:
		return c.u8()
	case kindInt8:
		return int8(c.u8())
	case kindUint16:
		return c.u16()
	case kindInt16:
		return int16(c.u16())
	case kindUint32:
		return c.u32()
	case kindInt32:
		return int32(c.u32())
	case kindFloat32:
		return math.Float32frombits(c.u32())
	case kindBool:
		v, err := toBool(c.u8())
		if err != nil {
			c.fail(err)
		}
		return v
	case kindString:
		return c.str()
	case kindArray:
		return c.arrayValue()
	case kindUint64:
		return c.u64()
	case kindInt64:
		return int64(c.u64())
	case kindFloat64:
		return math.Float64frombits(c.u64())
	}
	c.fail(fmt.Errorf("value type %d is unknown", kind))
	return nil
}

func (c *cursor) arrayValue() any {
	kind := c.u32()
	n := c.count("array elements", 1)
	le := binary.LittleEndian
	switch kind {
	case kindUint8:
		return array(c, n, 1, func(b []byte) uint8 { return b[0] })
	case kindInt8:
		return array(c, n, 1, func(b []byte) int8 { return int8(b[0]) })
	case kindUint16:
		return array(c, n, 2, le.Uint16)
	case kindInt16:
		return array(c, n, 2, func(b []byte) int16 { return int16(le.Uint16(b)) })
	case kindUint32:
		return array(c, n, 4, le.Uint32)
	case kindInt32:
		return array(c, n, 4, func(b []byte) int32 { return int32(le.Uint32(b)) })
	case kindFloat32:
		return array(c, n, 4, func(b []byte) float32 { return math.Float32frombits(le.Uint32(b)) })
	case kindBool:
		return array(c, n, 1, func(b []byte) bool {
			v, err := toBool(b[0])
			if err != nil {
				c.fail(err)
			}
			return v
		})
	case kindString:
		return c.strings(n)
	case kindUint64:
		return array(c, n, 8, le.Uint64)
	case kindInt64:
		return array(c, n, 8, func(b []byte) int64 { return int64(le.Uint64(b)) })
	case kindFloat64:
		return array(c, n, 8, func(b []byte) float64 { return math.Float64frombits(le.Uint64(b)) })
	case kindArray:
		c.fail(errors.New("an array of arrays is not read"))
		return nil
	}
	c.fail(fmt.Errorf("array type %d is unknown", kind))
	return nil
}

func parse(data []byte) (*File, error) {
	c := &cursor{data: data}
	if got := c.bytes(4); c.err != nil || string(got) != magic {
		return nil, errors.New("not a GGUF file: it does not begin with GGUF")
	}
	version := c.u32()
	switch {
	case c.err != nil:
		return nil, c.err
	case version == bits.ReverseBytes32(3) || version == bits.ReverseBytes32(2):
		return nil, errors.New("a big-endian GGUF file is not read")
	case version != 2 && version != 3:
		return nil, fmt.Errorf("GGUF version %d is not read; 2 and 3 are", version)
	}
	// The smallest tensor entry is an empty name, one dimension, type, offset;
	// the smallest key an empty name, type, one byte.
	tensors := c.count("tensors", 8+4+8+4+8)
	keys := c.count("keys", 8+4+1)
	if c.err != nil {
		return nil, c.err
	}
	f := &File{data: data, values: make(map[string]any, keys), byName: make(map[string]*Tensor, tensors)}
	for i := range keys {
		key := c.str()
		v := c.value(c.u32())
		if c.err != nil {
			return nil, fmt.Errorf("key %d %q: %w", i, clip(key), c.err)
		}
		if key == "" {
			return nil, fmt.Errorf("key %d has no name", i)
		}
		if _, twice := f.values[key]; twice {
			return nil, fmt.Errorf("key %q stands twice", clip(key))
		}
		f.keys = append(f.keys, key)
		f.values[key] = v
	}
	align := uint64(defaultAlignment)
	if v, there := f.values[alignmentKey]; there {
		n, ok := f.Uint(alignmentKey)
		if !ok || n == 0 || n > maxAlignment || n&(n-1) != 0 {
			return nil, fmt.Errorf("%s is %v, not a power of two up to %d", alignmentKey, v, maxAlignment)
		}
		align = n
	}
	return f, f.parseTensors(c, tensors, align)
}

// span is where a tensor's data lies, from the start of the data section.
type span struct {
	t           *Tensor
	offset, end uint64
}

func (f *File) parseTensors(c *cursor, n int, align uint64) error {
	spans := make([]span, 0, n)
	for i := range n {
		s, err := c.tensor(align)
		if err != nil {
			return fmt.Errorf("tensor %d%s: %w", i, quoted(s.t.Name), err)
		}
		if f.byName[s.t.Name] != nil {
			return fmt.Errorf("tensor %q stands twice", clip(s.t.Name))
		}
		f.byName[s.t.Name] = s.t
		f.tensors = append(f.tensors, s.t)
		spans = append(spans, s)
	}
	if n == 0 {
		return nil
	}
	start := (uint64(c.pos) + align - 1) &^ (align - 1)
	if start > uint64(len(f.data)) {
		return errors.New("the file ends before its tensor data")
	}
	body := f.data[start:]
	slices.SortFunc(spans, func(a, b span) int {
		if a.offset < b.offset {
			return -1
		}
		if a.offset > b.offset {
			return 1
		}
		return strings.Compare(a.t.Name, b.t.Name)
	})
	for i, s := range spans {
		if s.end > uint64(len(body)) {
			return fmt.Errorf("tensor %q ends at byte %d of %d: the file is cut short", clip(s.t.Name), s.end, len(body))
		}
		if i > 0 && s.offset < spans[i-1].end {
			return fmt.Errorf("tensors %q and %q overlap", clip(spans[i-1].t.Name), clip(s.t.Name))
		}
		s.t.Data = body[s.offset:s.end:s.end]
	}
	return nil
}

// tensor reads one tensor's entry. The span's tensor is never nil.
func (c *cursor) tensor(align uint64) (span, error) {
	t := &Tensor{Name: c.str()}
	s := span{t: t}
	dims := c.u32()
	switch {
	case c.err != nil:
		return s, c.err
	case t.Name == "":
		return s, errors.New("it has no name")
	case dims == 0 || dims > maxDims:
		return s, fmt.Errorf("it has %d dimensions; 1 to %d are read", dims, maxDims)
	}
	t.Shape = make([]int, dims)
	elements := uint64(1)
	for i := range t.Shape {
		d := c.u64()
		if c.err != nil {
			return s, c.err
		}
		// No value takes less than four bits, so a larger shape cannot fit.
		high, product := bits.Mul64(elements, d)
		if d == 0 || high != 0 || product > 2*uint64(len(c.data)) {
			return s, fmt.Errorf("dimension %d is %d: the file is too small for that", i, d)
		}
		t.Shape[i], elements = int(d), product
	}
	t.Type = Type(c.u32())
	s.offset = c.u64()
	if c.err != nil {
		return s, c.err
	}
	values, bytes := t.Type.Block()
	switch {
	case values == 0:
		return s, fmt.Errorf("its type %v is not read; F32, F16, Q4_0, Q4_1, Q5_0, Q8_0, Q4_K and Q6_K are", t.Type)
	case t.Shape[0]%values != 0:
		return s, fmt.Errorf("its rows of %d values are not whole %v blocks of %d", t.Shape[0], t.Type, values)
	case s.offset%align != 0:
		return s, fmt.Errorf("its offset %d is not a multiple of the alignment %d", s.offset, align)
	case s.offset > uint64(len(c.data)):
		return s, fmt.Errorf("its offset %d is past the end of the file", s.offset)
	}
	s.end = s.offset + elements/uint64(values)*uint64(bytes)
	return s, nil
}

// clip shortens a name from a file for a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}

func quoted(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" %q", clip(name))
}
