package gguf

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"crayon/internal/fault"
	"crayon/internal/half"
)

const vocabularyKey = "tokenizer.ggml.tokens"

// Fingerprint is the lineage of a model: sha256, in hex, over its vocabulary
// and its one-dimensional float tensors (norms and biases, which no
// quantisation touches) as float32, by name. It is the same for every
// quantisation of one model and differs between fine-tunes.
func Fingerprint(f *File) (string, error) {
	tokens, ok := f.Strings(vocabularyKey)
	if !ok || len(tokens) == 0 {
		return "", &fault.Error{Op: "fingerprint", Path: f.path, Err: errors.New("it has no vocabulary (" + vocabularyKey + ")")}
	}
	var vectors []*Tensor
	for _, t := range f.tensors {
		if len(t.Shape) == 1 && (t.Type == F32 || t.Type == F16) {
			vectors = append(vectors, t)
		}
	}
	slices.SortFunc(vectors, func(a, b *Tensor) int { return strings.Compare(a.Name, b.Name) })
	h := sha256.New()
	writeLength(h, len(tokens))
	for _, s := range tokens {
		writeText(h, s)
	}
	writeLength(h, len(vectors))
	for _, t := range vectors {
		writeText(h, t.Name)
		values, raw := make([]float32, t.Elements()), make([]byte, 0, 4*t.Elements())
		t.Floats(values)
		for _, v := range values {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
		writeLength(h, len(values))
		h.Write(raw)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Lengths stand before what they measure, so that no two lists hash alike.
func writeLength(h hash.Hash, n int) {
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
}

func writeText(h hash.Hash, s string) {
	writeLength(h, len(s))
	io.WriteString(h, s)
}

// Digest is the sha256 of the file at path, in hex.
func Digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", &fault.Error{Op: "digest", Path: path, Err: err}
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", &fault.Error{Op: "digest", Path: path, Err: err}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// scales are the places of F16 numbers in a block of a type.
var scales = map[Type][]int{F16: {0}, Q4_0: {0}, Q4_1: {0, 2}, Q5_0: {0}, Q8_0: {0}, Q4_K: {0, 2}, Q6_K: {208}}

// Validate reads every number and scale of every tensor and names each tensor
// that holds NaN or infinity. It is too slow for Open: it reads the whole file.
func (f *File) Validate(ctx context.Context) error {
	var faults []error
	for _, t := range f.tensors {
		if err := ctx.Err(); err != nil {
			return &fault.Error{Op: "check gguf", Path: f.path, Err: err}
		}
		if block := t.firstBad(); block >= 0 {
			faults = append(faults, fmt.Errorf("tensor %q holds a value that is not finite, in block %d of %v", t.Name, block, t.Type))
		}
	}
	if len(faults) > 0 {
		return &fault.Error{Op: "check gguf", Path: f.path, Err: errors.Join(faults...), Hint: hintDamaged}
	}
	return nil
}

// firstBad is the first block with a number that is not finite, -1 if none.
func (t *Tensor) firstBad() int {
	_, size := t.Type.Block()
	for i := range len(t.Data) / size {
		b := t.Data[i*size:]
		if t.Type == F32 {
			if binary.LittleEndian.Uint32(b)&0x7f800000 == 0x7f800000 {
				return i
			}
			continue
		}
		for _, at := range scales[t.Type] {
			if !half.Finite(binary.LittleEndian.Uint16(b[at:])) {
				return i
			}
		}
	}
	return -1
}
