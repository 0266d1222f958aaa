//go:build linux && (amd64 || arm64)

package cuda

import (
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"

	"crayon/internal/fault"
)

// maxParameters of a kernel.
const maxParameters = 64

// Stream is an order of work for a device. Its methods return before the work
// is done, unless they say that they wait; an error may be that of earlier work.
type Stream struct {
	device *Device
	handle uintptr

	// The arguments of a launch and their addresses: one launch at a time
	// prepares them, and the driver copies them before it returns.
	values   [maxParameters]uint64
	pointers [maxParameters]unsafe.Pointer
	call     [11]uintptr // of cuLaunchKernel
}

// Stream makes a stream that waits for no other.
func (v *Device) Stream() (*Stream, error) {
	s := &Stream{device: v}
	for i := range s.values {
		s.pointers[i] = unsafe.Pointer(&s.values[i])
	}
	const nonBlocking = 1
	if err := v.driver.check("make GPU stream", call(v.driver.calls.streamCreate, uintptr(unsafe.Pointer(&s.handle)), nonBlocking)); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Stream) check(op string, status int32) error { return s.device.driver.check(op, status) }

// Launch runs f on grid times block threads with shared bytes of dynamic shared
// memory. Arguments are Ptr, int32, uint32, int64, uint64 and float32, and must
// be the kernel's in number and size.
func (s *Stream) Launch(f *Function, grid, block [3]uint32, shared uint32, args ...any) error {
	if len(args) > maxParameters || f.sizes != nil && len(args) != len(f.sizes) {
		return &fault.Error{Op: "launch", Path: f.name, Err: fmt.Errorf("%d arguments for %d parameters", len(args), len(f.sizes))}
	}
	for i, a := range args {
		var bytes uint8
		switch a := a.(type) {
		case Ptr:
			s.values[i], bytes = uint64(a), 8
		case int32:
			s.values[i], bytes = uint64(uint32(a)), 4
		case uint32:
			s.values[i], bytes = uint64(a), 4
		case float32:
			s.values[i], bytes = uint64(math.Float32bits(a)), 4
		case int64:
			s.values[i], bytes = uint64(a), 8
		case uint64:
			s.values[i], bytes = a, 8
		}
		if bytes == 0 || f.sizes != nil && f.sizes[i] != bytes {
			return f.unfit(i, bytes)
		}
	}
	if err := f.allow(shared); err != nil {
		return err
	}
	s.call = [...]uintptr{f.handle, uintptr(grid[0]), uintptr(grid[1]), uintptr(grid[2]),
		uintptr(block[0]), uintptr(block[1]), uintptr(block[2]), uintptr(shared), s.handle, uintptr(unsafe.Pointer(&s.pointers[0])), 0}
	r, _, _ := purego.SyscallN(s.device.driver.calls.launch, s.call[:]...)
	runtime.KeepAlive(s)
	if status := int32(r); status != 0 {
		return &fault.Error{Op: "launch", Path: f.name, Err: fmt.Errorf("grid %v, block %v, %d bytes shared: %w", grid, block, shared, s.check("GPU", status))}
	}
	return nil
}

// Copy copies bytes within the device.
func (s *Stream) Copy(to, from Ptr, bytes uint64) error {
	if bytes == 0 {
		return nil
	}
	return s.check("copy on GPU", call(s.device.driver.calls.copy, uintptr(to), uintptr(from), uintptr(bytes), s.handle))
}

// Zero sets bytes at p to 0.
func (s *Stream) Zero(p Ptr, bytes uint64) error {
	if bytes == 0 {
		return nil
	}
	return s.check("zero GPU memory", call(s.device.driver.calls.zero, uintptr(p), 0, uintptr(bytes), s.handle))
}

// Wait waits for all that the stream was given to do.
func (s *Stream) Wait() error {
	return s.check("wait for GPU", call(s.device.driver.calls.streamSync, s.handle))
}

// Close ends the stream.
func (s *Stream) Close() error {
	return s.check("end GPU stream", call(s.device.driver.calls.streamDestroy, s.handle))
}
