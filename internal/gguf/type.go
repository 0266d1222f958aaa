package gguf

import "fmt"

// Type is a tensor's storage type, by GGML's number.
type Type uint32

// The storage types that are read. Each block of a quantised type holds its own scale.
const (
	F32  Type = 0
	F16  Type = 1
	Q4_0 Type = 2  // 32 values: F16 scale, 4-bit values less 8
	Q4_1 Type = 3  // 32 values: F16 scale and minimum, 4-bit values
	Q5_0 Type = 6  // 32 values: F16 scale, 5-bit values less 16
	Q8_0 Type = 8  // 32 values: F16 scale, int8 values
	Q4_K Type = 12 // 256 values: 8 groups of 32 with 6-bit scales and minima
	Q6_K Type = 14 // 256 values: 16 groups of 16 with int8 scales, 6-bit values less 32
)

// typeNames has GGML's names, those that are refused included, so that a
// refusal can say what it met.
var typeNames = map[Type]string{
	F32: "F32", F16: "F16", Q4_0: "Q4_0", Q4_1: "Q4_1", Q5_0: "Q5_0", 7: "Q5_1", Q8_0: "Q8_0", 9: "Q8_1",
	10: "Q2_K", 11: "Q3_K", Q4_K: "Q4_K", 13: "Q5_K", Q6_K: "Q6_K", 15: "Q8_K",
	16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS",
	24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4",
}

// String is GGML's name for the type.
func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Block is how many values a block holds and how many bytes it takes; 0, 0 for
// a type that is not read.
func (t Type) Block() (values, bytes int) {
	switch t {
	case F32:
		return 1, 4
	case F16:
		return 1, 2
	case Q4_0:
		return 32, 18
	case Q4_1:
		return 32, 20
	case Q5_0:
		return 32, 22
	case Q8_0:
		return 32, 34
	case Q4_K:
		return 256, 144
	case Q6_K:
		return 256, 210
	}
	return 0, 0
}

// Tensor is one tensor of a file. Data is a view of the file's memory and is
// valid until the File is closed.
type Tensor struct {
	Name  string
	Shape []int // ne order: Shape[0] varies fastest and is the number of columns
	Type  Type
	Data  []byte
}

// Cols is the length of a row.
func (t *Tensor) Cols() int { return t.Shape[0] }

// Rows is the number of rows, all dimensions but the first taken together.
func (t *Tensor) Rows() int {
	n := 1
	for _, d := range t.Shape[1:] {
		n *= d
	}
	return n
}

// Elements is the number of values.
func (t *Tensor) Elements() int { return t.Cols() * t.Rows() }

// Floats dequantises the whole tensor into dst, which holds at least Elements values.
func (t *Tensor) Floats(dst []float32) { dequantize(t.Type, t.Data, dst[:t.Elements()]) }

// Row dequantises row i into dst, which holds at least Cols values.
func (t *Tensor) Row(i int, dst []float32) {
	size := len(t.Data) / t.Rows()
	dequantize(t.Type, t.Data[i*size:(i+1)*size], dst[:t.Cols()])
}
