package peer

import (
	"time"

	"crayon/internal/kernel"
)

const (
	readBytes = 1 << 30
	peakTime  = 150 * time.Millisecond // of each loop
)

// ceilings runs the loops that only compute or only read, in this process,
// while the children are stopped.
type ceilings struct {
	team *kernel.Team
	buf  []byte
}

func newCeilings(threads int) *ceilings {
	c := &ceilings{team: kernel.NewTeam(threads), buf: make([]byte, readBytes)}
	for i := 0; i < len(c.buf); i += 4096 {
		c.buf[i] = 1 // a page that was never written is one and the same page of zeros
	}
	return c
}

func (c *ceilings) close() { c.team.Close() }

// loop measures a ceiling, in operations or bytes a second; 0 at level plain.
func (c *ceilings) loop(of Ceiling) float64 {
	r := kernel.Measure(c.team, peakTime, c.buf)
	if of == Int8 {
		return r.Int8
	}
	return r.Read
}

// cost is what a token takes of a ceiling: 2 operations a parameter of the
// linear layers, or the bytes of all packed weights.
func (s Size) cost(of Ceiling) float64 {
	if of == Int8 {
		return 2 * float64(s.Linear)
	}
	return float64(s.Bytes)
}
