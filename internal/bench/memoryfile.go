package bench

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"crayon/internal/fault"
	"crayon/internal/store"
	"crayon/internal/strategy"
)

// A memory's file is a line, then blocks: the length of the rest in 4 bytes,
// little-endian, and gzip of a payload. The first payload is the Source in
// JSON, the others are records. Blocks are added whole and synced; one that was
// cut short by a crash at the end of the file is dropped.
//
// Records are in columns, for they compress better so: how many; each one's
// key; each one's shape; the seconds and tokens of answers, the tokens of
// scores; the bytes of the scores' sums (float64), all lowest ones first; those
// of the directions' numbers (float32).
const memoryMagic = "crayon memory 1\n"

// Bounds of one block.
const (
	mostBlock   = 1 << 28 // bytes, compressed or not
	mostRecords = 1 << 22
)

var errMemory = errors.New("a block does not hold what it says")

// read takes in the file, if there is one, and cuts off a torn end.
func (m *Memory) read() error {
	fail := func(err error) error {
		return &fault.Error{Op: "read memory of scores", Path: m.path, Err: err, Exit: fault.ExitVerify, Hint: "remove the file: what it held is asked again"}
	}
	f, err := os.OpenFile(m.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &fault.Error{Op: "read memory of scores", Path: m.path, Err: err}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return &fault.Error{Op: "read memory of scores", Path: m.path, Err: err}
	}
	magic := make([]byte, len(memoryMagic))
	if _, err := io.ReadFull(f, magic); err != nil || string(magic) != memoryMagic {
		return fail(errors.New("it is no memory of scores"))
	}
	at := int64(len(memoryMagic))
	for first := true; ; first = false {
		data, next, err := block(f, at, info.Size())
		if err != nil {
			return fail(err)
		}
		if data == nil {
			break
		}
		if first {
			var of Source
			if err := json.Unmarshal(data, &of); err != nil {
				return fail(err)
			}
			if of.Model != m.of.Model || of.Pool != m.of.Pool {
				return &fault.Error{Op: "read memory of scores", Path: m.path, Err: errors.New("it is of another model or pool"), Exit: fault.ExitUsage, Hint: "name another file"}
			}
			m.of = of
		} else if err := m.parse(data); err != nil {
			return fail(err)
		}
		at = next
	}
	if at == int64(len(memoryMagic)) {
		at = 0 // not even the first block is whole: it is begun anew
	}
	m.size = at
	if at < info.Size() {
		if err := f.Truncate(at); err != nil {
			return &fault.Error{Op: "mend memory of scores", Path: m.path, Err: err}
		}
	}
	return nil
}

// block is the payload at an offset and where the next begins; nil at the end,
// and where the last is torn.
func block(f io.ReaderAt, at, size int64) (data []byte, next int64, err error) {
	var length [4]byte
	if size-at < int64(len(length)) {
		return nil, at, nil
	}
	if _, err := f.ReadAt(length[:], at); err != nil {
		return nil, 0, err
	}
	n := int64(binary.LittleEndian.Uint32(length[:]))
	next = at + int64(len(length)) + n
	switch {
	case n == 0 || n > mostBlock:
		return nil, 0, errMemory
	case next > size:
		return nil, at, nil
	}
	data, err = inflate(io.NewSectionReader(f, at+int64(len(length)), n))
	if err != nil && next == size {
		return nil, at, nil // it was not synced
	}
	return data, next, err
}

func inflate(r io.Reader) ([]byte, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(z, mostBlock+1))
	if err == nil && len(data) > mostBlock {
		err = errMemory
	}
	return data, err
}

// flush adds what is new to the file.
func (m *Memory) flush() error {
	if len(m.fresh) == 0 {
		return nil
	}
	fail := func(err error) error {
		return &fault.Error{Op: "write memory of scores", Path: m.path, Err: err}
	}
	var out bytes.Buffer
	if m.size == 0 {
		head, err := json.Marshal(m.of)
		if err != nil {
			return fail(err)
		}
		out.WriteString(memoryMagic)
		if err := deflate(&out, head); err != nil {
			return fail(err)
		}
	}
	if err := deflate(&out, m.format(m.fresh)); err != nil {
		return fail(err)
	}
	if err := store.MakeDir(filepath.Dir(m.path)); err != nil {
		return err
	}
	f, err := os.OpenFile(m.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fail(err)
	}
	_, err = f.WriteAt(out.Bytes(), m.size)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fail(err)
	}
	m.size += int64(out.Len())
	m.fresh, m.waiting = nil, 0
	return nil
}

func deflate(out *bytes.Buffer, data []byte) error {
	at := out.Len()
	out.Write(make([]byte, 4))
	z := gzip.NewWriter(out)
	if _, err := z.Write(data); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	n := out.Len() - at - 4
	if n > mostBlock || len(data) > mostBlock {
		return fmt.Errorf("a block of %d bytes", len(data))
	}
	binary.LittleEndian.PutUint32(out.Bytes()[at:], uint32(n))
	return nil
}

// format is the payload of records.
func (m *Memory) format(keys []recallKey) []byte {
	b := binary.AppendUvarint(nil, uint64(len(keys)))
	for _, k := range keys {
		b = append(b, k[:]...)
	}
	var sums []uint64
	var numbers []uint32
	var answers []*answer
	for _, k := range keys { // an even shape is of an answer
		r := m.known[k]
		if r.direction == nil {
			b = binary.AppendUvarint(b, uint64(len(r.scores))<<1)
			answers = append(answers, &r.answer)
			continue
		}
		b = binary.AppendUvarint(b, uint64(len(r.direction))<<1|1)
		for _, x := range r.direction {
			numbers = append(numbers, math.Float32bits(x))
		}
	}
	for _, a := range answers {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(a.cost.seconds)))
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(a.cost.tokens)))
	}
	for _, a := range answers {
		for _, s := range a.scores {
			b = binary.AppendUvarint(b, uint64(max(0, s.Tokens)))
			sums = append(sums, math.Float64bits(s.Sum))
		}
	}
	for shift := 0; shift < 64; shift += 8 {
		for _, x := range sums {
			b = append(b, byte(x>>shift))
		}
	}
	for shift := 0; shift < 32; shift += 8 {
		for _, x := range numbers {
			b = append(b, byte(x>>shift))
		}
	}
	return b
}

// parse takes in a payload of records.
func (m *Memory) parse(data []byte) error {
	in := bytes.NewReader(data)
	take := func(n int) []byte {
		if n < 0 || n > in.Len() {
			return nil
		}
		at := len(data) - in.Len()
		in.Seek(int64(n), io.SeekCurrent) //nolint:errcheck // it is within
		return data[at : at+n]
	}
	n, err := binary.ReadUvarint(in)
	if err != nil || n > mostRecords || n*uint64(len(recallKey{})) > uint64(in.Len()) {
		return errMemory
	}
	keys := take(int(n) * len(recallKey{}))
	records := make([]recalled, n)
	var answers []*recalled
	var scores, numbers uint64
	shapes := make([]uint64, n)
	for i := range records {
		x, err := binary.ReadUvarint(in)
		if err != nil || x>>1 > mostBlock {
			return errMemory
		}
		if shapes[i] = x >> 1; x&1 == 0 {
			scores += x >> 1
			answers = append(answers, &records[i])
		} else {
			numbers += x >> 1
		}
	}
	// A score takes 9 bytes at least, a number 4: memory is bounded by the file's.
	if 8*uint64(len(answers))+9*scores+4*numbers > uint64(in.Len()) || m.held+int(scores+numbers) > mostRecalled {
		return errMemory
	}
	m.held += int(scores + numbers)
	costs := take(8 * len(answers))
	for i, r := range answers {
		r.cost.seconds = float64(math.Float32frombits(binary.LittleEndian.Uint32(costs[8*i:])))
		r.cost.tokens = float64(math.Float32frombits(binary.LittleEndian.Uint32(costs[8*i+4:])))
		if !finite(r.cost.seconds) || !finite(r.cost.tokens) {
			return errMemory
		}
	}
	all, vector := make([]strategy.Score, scores), make([]float32, numbers)
	for i := range all {
		x, err := binary.ReadUvarint(in)
		if err != nil || x > math.MaxInt32 {
			return errMemory
		}
		all[i].Tokens = int(x)
	}
	planes, floats := take(8*len(all)), take(4*len(vector))
	if planes == nil || floats == nil || in.Len() != 0 {
		return errMemory
	}
	for i := range all {
		var x uint64
		for p := range 8 {
			x |= uint64(planes[p*len(all)+i]) << (8 * p)
		}
		if all[i].Sum = math.Float64frombits(x); !finite(all[i].Sum) {
			return errMemory
		}
	}
	for i := range vector {
		var x uint32
		for p := range 4 {
			x |= uint32(floats[p*len(vector)+i]) << (8 * p)
		}
		if vector[i] = math.Float32frombits(x); !finite(float64(vector[i])) {
			return errMemory
		}
	}
	for i := range records {
		r, n := &records[i], shapes[i]
		if len(answers) > 0 && r == answers[0] {
			answers = answers[1:]
			r.scores, all = all[:n:n], all[n:]
		} else {
			r.direction, vector = vector[:n:n], vector[n:]
		}
		m.known[recallKey(keys[i*len(recallKey{}):])] = r
	}
	return nil
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }
