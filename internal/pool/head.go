package pool

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
)

// headType is the general.type of a head: a pool's file without its sides.
const headType = "crayon-pool-head"

// MaxHead bounds the file of a head, in bytes.
const MaxHead = 128 << 20

// Head is the pool's file without sides, baselines and coverage, and with the
// pool's digest: all that a device needs to weigh the pool's members by a user's
// examples, where the sides stay on a server. Equal for equal pools.
func (p *Pool) Head() ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, &fault.Error{Op: "make pool head", Path: p.path, Err: err}
	}
	e, err := p.edit()
	if err != nil {
		return fail(err)
	}
	e.set["general.type"], e.set["crayon.head.pool"] = headType, p.digest
	for _, k := range e.file.Keys() {
		if strings.HasPrefix(k, "crayon.baseline.") || strings.HasPrefix(k, "crayon.coverage.") {
			e.set[k] = nil
		}
	}
	e.tensors = slices.DeleteFunc(e.tensors, func(t *gguf.Tensor) bool {
		return t.Name != "feature.mean" && t.Name != "feature.scale" && t.Name != "indicators"
	})
	data, err := e.render()
	if err != nil {
		return fail(err)
	}
	return data, nil
}

// ParseHead reads a head: a pool whose Digest is that of the whole, with no
// sides in its Stack. Every length is checked before it is used.
func ParseHead(data []byte) (*Pool, error) {
	p, err := parseHead(data)
	if err != nil {
		return nil, &fault.Error{Op: "read pool head", Err: errors.New(err.Error()), Exit: fault.ExitVerify, Hint: "is this the address of `crayon pool serve`?"}
	}
	return p, nil
}

func parseHead(data []byte) (*Pool, error) {
	if len(data) > MaxHead {
		return nil, fmt.Errorf("more than %d bytes", MaxHead)
	}
	r, err := begin(data, headType, "the head of a pool")
	if err != nil {
		return nil, err
	}
	p := &Pool{digest: r.string("crayon.head.pool"), size: len(data), head: sum(data)}
	if raw, err := hex.DecodeString(p.digest); err != nil || len(raw) != 32 || p.digest != strings.ToLower(p.digest) {
		r.fail("crayon.head.pool", "no sha256")
	}
	r.pool(p)
	if r.err != nil {
		return nil, r.err
	}
	for _, i := range p.Blended() {
		var n float64
		for _, x := range p.Members[i].Indicator {
			n += float64(x) * float64(x)
		}
		if math.Abs(n-1) > 0.01 {
			return nil, fmt.Errorf("indicators: that of %s has the length %.3g, not 1", p.Members[i].Name, math.Sqrt(n))
		}
	}
	p.Stack = &adapter.Stack{Adapters: len(p.Members), Pairs: map[arch.Slot]*adapter.Pair{}}
	return p, nil
}

// HeadDigest is the sha256 of the head the pool was read from, hex; "" for a
// pool with its sides.
func (p *Pool) HeadDigest() string { return p.head }
