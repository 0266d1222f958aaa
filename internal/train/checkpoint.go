package train

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"

	"crayon/internal/arch"
	"crayon/internal/atomicfile"
	"crayon/internal/fault"
	"crayon/internal/reference"
)

// identity is all that decides a run's result: a checkpoint is only for a run
// that has the same.
type identity struct {
	Model        arch.Config
	ModelDigest  string // of the model's gains, which no quantisation changes
	Examples     int
	DataDigest   string // of the tokens and weights of all examples
	Adapters     int
	Rank         int
	SharedRank   int
	Scale        float32
	Loss         Loss
	RankScale    float64
	LMWeight     float64
	Epochs       int
	LearningRate float64
	Warmup       int
	StepTokens   int
	MicroTokens  int
	Bucket       int
	MaxTokens    int
	MaxAnswer    int
	Seed         uint64
}

func (c Config) identity(w *reference.Weights, examples []Example) identity {
	return identity{
		Model: w.Config, ModelDigest: modelDigest(w), Examples: len(examples), DataDigest: dataDigest(examples),
		Adapters: c.Adapters, Rank: c.Rank, SharedRank: c.SharedRank, Scale: c.Scale,
		Loss: c.Loss, RankScale: c.RankScale, LMWeight: c.LMWeight,
		Epochs: c.Epochs, LearningRate: c.LearningRate, Warmup: c.Warmup,
		StepTokens: c.StepTokens, MicroTokens: c.MicroTokens, Bucket: c.Bucket,
		MaxTokens: c.MaxTokens, MaxAnswer: c.MaxAnswer, Seed: c.Seed,
	}
}

func modelDigest(w *reference.Weights) string {
	h := sha256.New()
	writeFloats(h, w.OutNorm)
	for _, l := range w.Layers {
		writeFloats(h, l.AttnNorm)
		writeFloats(h, l.FFNNorm)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func dataDigest(examples []Example) string {
	h := sha256.New()
	b := bufio.NewWriter(h) // neither a hash nor a writer on one fails
	tokens := func(ids []int32) {
		binary.Write(b, binary.LittleEndian, int64(len(ids)))
		binary.Write(b, binary.LittleEndian, ids)
	}
	for _, e := range examples {
		tokens(e.Prompt)
		binary.Write(b, binary.LittleEndian, int64(len(e.Answers)))
		for _, a := range e.Answers {
			tokens(a)
		}
		writeFloats(b, e.Weights)
	}
	b.Flush()
	return hex.EncodeToString(h.Sum(nil))
}

// differs names a field in which two identities differ, or is "".
func (i identity) differs(other identity) string {
	a, b := i.fields(), other.fields()
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if !bytes.Equal(a[name], b[name]) {
			return fmt.Sprintf("%s was %s and is now %s", name, a[name], b[name])
		}
	}
	return ""
}

func (i identity) fields() map[string]json.RawMessage {
	text, _ := json.Marshal(i) // plain numbers and strings: checked to be finite
	var m map[string]json.RawMessage
	json.Unmarshal(text, &m)
	return m
}

// A checkpoint is magic, the length of the header (uint32), the header as
// JSON, the values and both moments (float32), and the CRC-32C of all before
// it; numbers are little-endian.
const (
	magic     = "crayon checkpoint 1\n"
	maxHeader = 1 << 20
)

type header struct {
	Identity identity
	Step     int // steps done
	Values   int // parameters
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (s *State) arrays() [][]float32 { return [][]float32{s.Params.Values, s.First, s.Second} }

// save writes the checkpoint whole or not at all.
func (s *State) save(path string, id identity, step int) error {
	err := atomicfile.Write(path, func(out io.Writer) error {
		sum := crc32.New(castagnoli)
		w := io.MultiWriter(out, sum)
		text, err := json.Marshal(header{Identity: id, Step: step, Values: len(s.Params.Values)})
		if err != nil {
			return err
		}
		head := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(text)))
		if _, err := w.Write(append(head, text...)); err != nil {
			return err
		}
		for _, x := range s.arrays() {
			if err := writeFloats(w, x); err != nil {
				return err
			}
		}
		return binary.Write(out, binary.LittleEndian, sum.Sum32())
	})
	if err != nil {
		return &fault.Error{Op: "write checkpoint", Path: path, Err: err, Hint: atomicfile.Hint(err, path)}
	}
	return nil
}

// load reads the checkpoint at path into s and returns how many steps were
// done; it is no error that there is none.
func (s *State) load(path string, id identity) (int, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	fail := func(err error) (int, error) {
		return 0, &fault.Error{Op: "read checkpoint", Path: path, Err: err, Hint: "remove the checkpoint to start afresh, or train with the same settings and data"}
	}
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	sum := crc32.New(castagnoli)
	r := io.TeeReader(bufio.NewReaderSize(f, 1<<20), sum)
	head := make([]byte, len(magic)+4)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:len(magic)]) != magic {
		return fail(errors.New("not a checkpoint"))
	}
	size := binary.LittleEndian.Uint32(head[len(magic):])
	if size > maxHeader {
		return fail(fmt.Errorf("a header of %d bytes", size))
	}
	text := make([]byte, size)
	if _, err := io.ReadFull(r, text); err != nil {
		return fail(fmt.Errorf("cut short: %w", err))
	}
	var h header
	if err := json.Unmarshal(text, &h); err != nil {
		return fail(err)
	}
	if name := h.Identity.differs(id); name != "" {
		return fail(fmt.Errorf("it is of another run: %s", name))
	}
	if h.Values != len(s.Params.Values) || h.Step < 0 {
		return fail(fmt.Errorf("%d parameters at step %d, this run has %d", h.Values, h.Step, len(s.Params.Values)))
	}
	read := newState(&Params{Values: make([]float32, h.Values)})
	for _, x := range read.arrays() {
		if err := readFloats(r, x); err != nil {
			return fail(fmt.Errorf("cut short: %w", err))
		}
	}
	want := sum.Sum32()
	var stored [4]byte
	if _, err := io.ReadFull(r, stored[:]); err != nil || binary.LittleEndian.Uint32(stored[:]) != want {
		return fail(errors.New("its checksum is wrong"))
	}
	s.Params.Values, s.First, s.Second = read.Params.Values, read.First, read.Second
	return h.Step, nil
}

const chunkFloats = 16 << 10

func writeFloats(w io.Writer, x []float32) error {
	buf := make([]byte, 0, 4*chunkFloats)
	for part := range slices.Chunk(x, chunkFloats) {
		buf = buf[:0]
		for _, v := range part {
			buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

func readFloats(r io.Reader, x []float32) error {
	buf := make([]byte, 4*chunkFloats)
	for part := range slices.Chunk(x, chunkFloats) {
		b := buf[:4*len(part)]
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		for i := range part {
			part[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
	}
	return nil
}
