package rendezvous

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A frame is the length of the head (uint32), the head as JSON, the length of
// the body (uint64), and the body; numbers are little-endian.
const (
	protocol = "crayon rendezvous 1"
	maxHead  = 64 << 10
	maxBody  = 1 << 40
)

// head says what a frame is. Kind is one of the constants.
type head struct {
	Kind string            `json:"kind"`
	Rank int               `json:"rank,omitempty"`
	Same map[string]string `json:"same,omitempty"` // of hello: what must be the same, by name
	ID   []byte            `json:"id,omitempty"`   // of welcome
	Text string            `json:"text,omitempty"` // of failed: why; of hello: the protocol
}

const (
	hello   = "hello"   // a rank to rank 0
	welcome = "welcome" // the answer
	work    = "work"    // rank 0 to all: the body says what to do
	done    = "done"    // a rank to rank 0: that work is done
	failed  = "failed"  // to all: the group ends with an error
	end     = "end"     // rank 0 to all: there is no more work
)

// writeFrame writes a head and size bytes of body.
func writeFrame(w io.Writer, h head, body io.Reader, size int64) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if len(text) > maxHead {
		return errors.New("the head of a message is too long")
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(len(text)))
	b = binary.LittleEndian.AppendUint64(append(b, text...), uint64(size))
	if _, err := w.Write(b); err != nil {
		return err
	}
	if size == 0 {
		return nil
	}
	n, err := io.Copy(w, io.LimitReader(body, size))
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// readFrame reads a head and the length of the body that follows.
func readFrame(r io.Reader) (head, int64, error) {
	var h head
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return h, 0, err
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n > maxHead {
		return h, 0, fmt.Errorf("a message's head of %d bytes", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return h, 0, err
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return h, 0, fmt.Errorf("a message's head: %w", err)
	}
	var size [8]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return h, 0, err
	}
	body := binary.LittleEndian.Uint64(size[:])
	if body > maxBody || body > 0 && h.Kind != work {
		return h, 0, fmt.Errorf("a message %q of %d bytes", h.Kind, body)
	}
	return h, int64(body), nil
}
