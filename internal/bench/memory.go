package bench

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"crayon/internal/adapter"
	"crayon/internal/fault"
	"crayon/internal/store"
	"crayon/internal/strategy"
)

// Source is what scores are of: those of another are not taken.
type Source struct {
	Model  string `json:"model"` // sha256
	Pool   string `json:"pool"`  // sha256
	Device string `json:"device"`
}

// Memory is a file of what the model has said: every ask's scores and every
// question's direction, by content. A run over it asks for what it lacks and
// adds that, so that strategies, priors and the chooser can be studied without
// passes, and without the accelerator that made them.
type Memory struct {
	path    string
	of      Source
	closed  bool // of a device that is not here: what it lacks cannot be asked
	lock    *store.Held
	size    int64 // of the file, as far as it is whole; 0: there is none yet
	held    int   // numbers
	known   map[recallKey]*recalled
	fresh   []recallKey // not in the file yet
	waiting int         // numbers of these
	private map[*adapter.Pair][sha256.Size]byte
}

// recallKey is the first bytes of a sha256: among the 2^24 of a full memory two
// alike have a chance of 2^-49.
type recallKey [12]byte

// recalled is an ask's answer or a question's direction.
type recalled struct {
	answer
	direction []float32 // nil: it is an answer
}

// mostRecalled bounds a memory: its scores and the numbers of its directions.
const mostRecalled = 1 << 26

// flushAt is how many numbers wait to be written at most.
const flushAt = 1 << 18

// OpenMemory reads the file at path, or begins one. A memory of another model
// or pool is an error. One that another device filled is only read.
func OpenMemory(path string, of Source) (*Memory, error) {
	m := &Memory{path: path, of: of, known: map[recallKey]*recalled{}, private: map[*adapter.Pair][sha256.Size]byte{}}
	lock, err := store.TryLock(path + ".lock")
	if err != nil {
		return nil, err
	}
	m.lock = lock
	if err := m.read(); err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	m.closed = m.of.Device != of.Device
	return m, nil
}

// Device is what filled the memory, or will.
func (m *Memory) Device() string { return m.of.Device }

// Close writes what waits. The memory is not to be used after it.
func (m *Memory) Close() error {
	return errors.Join(m.flush(), m.lock.Unlock())
}

// scores are an ask's, or nil.
func (m *Memory) scores(a *strategy.Ask) (recallKey, *answer) {
	k := m.key(a)
	if r := m.known[k]; r != nil && r.direction == nil && len(r.scores) == len(a.Candidates) {
		return k, &r.answer
	}
	return k, nil
}

// key of an ask: a private adapter is known by what is in it.
func (m *Memory) key(a *strategy.Ask) recallKey {
	var private [sha256.Size]byte
	if a.Private != nil {
		if slots := a.Private.Slots(); len(slots) > 0 {
			first := a.Private.Pairs[slots[0]]
			digest, ok := m.private[first]
			if !ok {
				digest = digestOf(a.Private)
				m.private[first] = digest
			}
			private = digest
		}
	}
	k := a.Key()
	sum := k.Sum(private)
	return recallKey(sum[:])
}

// digestOf an adapter's matrices.
func digestOf(a *adapter.Adapter) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, slot := range a.Slots() {
		p := a.Pairs[slot]
		fmt.Fprintf(h, "%v %d %d %d\n", slot, p.Rank, p.In, p.Out)
		for _, matrix := range [][]float32{p.A, p.B} {
			b := make([]byte, 0, 4*len(matrix))
			for _, x := range matrix {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
			}
			h.Write(b)
		}
	}
	h.Sum(sum[:0])
	return sum
}

// recallQuestion is a question's key, in a space that no ask's content is in.
func recallQuestion(question string) recallKey {
	sum := sha256.Sum256([]byte("question\x00" + question))
	return recallKey(sum[:])
}

// add keeps an answer; its cost is rounded as the file has it, so that the run
// that asked and those that remember say the same.
func (m *Memory) add(k recallKey, a *answer) error {
	a.cost = cost{float64(float32(a.cost.seconds)), float64(float32(a.cost.tokens))}
	return m.put(k, &recalled{answer: *a}, len(a.scores))
}

func (m *Memory) put(k recallKey, r *recalled, numbers int) error {
	if m.held += numbers; m.held > mostRecalled {
		return &fault.Error{Op: "remember scores", Path: m.path, Err: fmt.Errorf("it is full: %d numbers", mostRecalled), Hint: "name another file"}
	}
	m.known[k] = r
	m.fresh, m.waiting = append(m.fresh, k), m.waiting+numbers
	return nil
}

// flushLarge writes what waits if it is much.
func (m *Memory) flushLarge() error {
	if m.waiting < flushAt {
		return nil
	}
	return m.flush()
}

// lacks is the error of a memory that cannot be added to.
func (m *Memory) lacks(what string) error {
	return &fault.Error{Op: "remember scores", Path: m.path, Err: fmt.Errorf("it lacks %s, and was filled by another device (%s)", what, cmp.Or(m.of.Device, "the processor")),
		Hint: "run on that device once with these options, or name another file", Exit: fault.ExitUsage}
}

// directions are the engine's, as far as they are not known.
func (m *Memory) directions(ctx context.Context, e Engine, questions []string) ([][]float32, error) {
	out := make([][]float32, len(questions))
	var unknown []string
	var at []int
	for i, q := range questions {
		if r := m.known[recallQuestion(q)]; r != nil && r.direction != nil {
			out[i] = r.direction
		} else {
			unknown, at = append(unknown, q), append(at, i)
		}
	}
	if len(unknown) == 0 {
		return out, nil
	}
	if m.closed {
		return nil, m.lacks("a question's feature")
	}
	got, err := e.Directions(ctx, unknown)
	if err != nil {
		return nil, err
	}
	for j, i := range at {
		out[i] = got[j]
		if len(got[j]) == 0 {
			continue
		}
		if err := m.put(recallQuestion(questions[i]), &recalled{direction: got[j]}, len(got[j])); err != nil {
			return nil, err
		}
	}
	return out, nil
}
