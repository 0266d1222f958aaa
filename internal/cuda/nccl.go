//go:build linux && (amd64 || arm64)

package cuda

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"crayon/internal/fault"
)

// IDSize is the bytes of a unique id.
const IDSize = 128

// ncclCalls is libnccl.
type ncclCalls struct {
	once sync.Once
	err  error

	uniqueID, join, sum, destroy, abort, state, errorString uintptr
}

func (c *ncclCalls) load() error {
	c.once.Do(func() {
		// NVLink's multicast takes hardware of the whole host, and leaves it in
		// use where a process is killed: off, unless the user says otherwise.
		if _, ok := os.LookupEnv("NCCL_NVLS_ENABLE"); !ok {
			os.Setenv("NCCL_NVLS_ENABLE", "0")
		}
		lib, err := open([]string{"libnccl.so.2", "libnccl.so"}, nil)
		if err != nil {
			c.err = &fault.Error{Op: "load CUDA", Path: "libnccl.so.2", Err: err, Hint: "pip install nvidia-nccl-cu13, or set " + LibsVariable + " to the folder that holds it"}
			return
		}
		c.err = lib.bind(map[string]*uintptr{
			"ncclGetUniqueId": &c.uniqueID, "ncclCommInitRank": &c.join, "ncclAllReduce": &c.sum, "ncclCommDestroy": &c.destroy,
			"ncclCommAbort": &c.abort, "ncclCommGetAsyncError": &c.state, "ncclGetErrorString": &c.errorString,
		})
	})
	return c.err
}

func (c *ncclCalls) check(op string, status int32) error {
	if status == 0 {
		return nil
	}
	return &fault.Error{Op: op, Err: fmt.Errorf("NCCL: %s (%d)", text(callText(c.errorString, uintptr(status))), status), Hint: "NCCL_DEBUG=INFO says more"}
}

// UniqueID makes the id under which processes join: rank 0 makes it and gives
// it to all. IDSize bytes.
func UniqueID(d *Driver) ([]byte, error) {
	c := &d.sums
	if err := c.load(); err != nil {
		return nil, err
	}
	id := make([]byte, IDSize)
	if err := c.check("make a rendezvous", call(c.uniqueID, uintptr(unsafe.Pointer(&id[0])))); err != nil {
		return nil, err
	}
	return id, nil
}

// Comm joins processes, each with a device.
type Comm struct {
	calls  *ncclCalls
	handle uintptr
}

// Join waits until all of world processes have joined under the id.
func (v *Device) Join(id []byte, rank, world int) (*Comm, error) {
	if len(id) != IDSize || rank < 0 || rank >= world {
		return nil, &fault.Error{Op: "join GPUs", Err: fmt.Errorf("rank %d of %d, an id of %d bytes", rank, world, len(id))}
	}
	c := &v.driver.sums
	if err := c.load(); err != nil {
		return nil, err
	}
	m := &Comm{calls: c}
	at, ranks, own := uintptr(unsafe.Pointer(&m.handle)), uintptr(world), uintptr(rank)
	// The id is a C structure given by value. On amd64 that is its words on the
	// stack, after the three arguments in registers; on arm64 its address.
	var status int32
	if runtime.GOARCH == "amd64" {
		args := [6 + IDSize/8]uintptr{at, ranks, own}
		for i := range IDSize / 8 {
			args[6+i] = uintptr(binary.LittleEndian.Uint64(id[8*i:]))
		}
		status = call(c.join, args[:]...)
		runtime.KeepAlive(m)
	} else {
		status = call(c.join, at, ranks, uintptr(unsafe.Pointer(&id[0])), own)
	}
	if err := c.check("join GPUs", status); err != nil {
		return nil, err
	}
	return m, nil
}

// Sum replaces n values at buf by their sum over all processes, in the stream's order.
func (m *Comm) Sum(s *Stream, buf Ptr, n int, t Type) error {
	kind := uintptr(7) // ncclFloat32
	if t == BF16 {
		kind = 9
	}
	const sum = 0
	return m.calls.check("sum over GPUs", call(m.calls.sum, uintptr(buf), uintptr(buf), uintptr(n), kind, sum, m.handle, s.handle))
}

// Err is the error that a sum under way met, if any. It may be called from
// another goroutine than the device's.
func (m *Comm) Err() error {
	var state int32
	if err := m.calls.check("sum over GPUs", call(m.calls.state, m.handle, uintptr(unsafe.Pointer(&state)))); err != nil {
		return err
	}
	const inProgress = 7
	if state == inProgress {
		return nil
	}
	return m.calls.check("sum over GPUs", state)
}

// Abort ends the sums under way, such as those that wait for a process that
// died. It may be called from another goroutine than the device's; the Comm
// must not be used again.
func (m *Comm) Abort() error { return m.calls.check("leave GPUs", call(m.calls.abort, m.handle)) }

// Close leaves the others; the sums are done.
func (m *Comm) Close() error { return m.calls.check("leave GPUs", call(m.calls.destroy, m.handle)) }
