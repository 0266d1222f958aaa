//go:build linux && (amd64 || arm64)

package cuda

import (
	"fmt"
	"unsafe"

	"crayon/internal/fault"
)

// Ptr is an address in a device's memory; 0 is none. It may be moved on by
// bytes within what was allocated.
type Ptr uint64

// Alloc takes memory of the device. It is not zeroed. 0 bytes are address 0.
func (v *Device) Alloc(bytes uint64) (Ptr, error) {
	if bytes == 0 {
		return 0, nil
	}
	var p Ptr
	if err := v.driver.check("take GPU memory", call(v.driver.calls.alloc, uintptr(unsafe.Pointer(&p)), uintptr(bytes))); err != nil {
		return 0, &fault.Error{Op: "train on the GPU", Path: v.Name, Err: fmt.Errorf("%d MB more are needed: %w", bytes>>20, err)}
	}
	return p, nil
}

// Free gives memory back; what runs on it has ended. Address 0 is nothing.
func (v *Device) Free(p Ptr) error {
	if p == 0 {
		return nil
	}
	return v.driver.check("give GPU memory back", call(v.driver.calls.free, uintptr(p)))
}

// Left is how many bytes of the device's memory are free.
func (v *Device) Left() (uint64, error) {
	var free, total uint64
	err := v.driver.check("ask for free GPU memory", call(v.driver.calls.info, uintptr(unsafe.Pointer(&free)), uintptr(unsafe.Pointer(&total))))
	return free, err
}

// Pinned takes memory of the host that the device reads and writes directly:
// an Upload from it returns before the bytes were read. Zeroed.
func (v *Device) Pinned(bytes int) ([]byte, error) {
	if bytes <= 0 {
		return nil, nil
	}
	var p *byte
	if err := v.driver.check("take pinned memory", call(v.driver.calls.allocHost, uintptr(unsafe.Pointer(&p)), uintptr(bytes))); err != nil {
		return nil, err
	}
	b := unsafe.Slice(p, bytes)
	clear(b)
	return b, nil
}

// FreePinned gives back what Pinned returned.
func (v *Device) FreePinned(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	return v.driver.check("give pinned memory back", call(v.driver.calls.freeHost, uintptr(unsafe.Pointer(&b[0]))))
}

// Upload copies from to the device, in the stream's order. From memory of Go's
// it may be changed at once; from Pinned memory only after the stream's Wait.
// T holds no pointers.
func Upload[T any](s *Stream, to Ptr, from []T) error {
	if len(from) == 0 {
		return nil
	}
	return s.check("copy to GPU", call(s.device.driver.calls.upload, uintptr(to), uintptr(unsafe.Pointer(&from[0])), size(from), s.handle))
}

// Download copies from the device and waits for all that the stream has to do.
// T holds no pointers.
func Download[T any](s *Stream, to []T, from Ptr) error {
	if len(to) > 0 {
		if err := s.check("copy from GPU", call(s.device.driver.calls.download, uintptr(unsafe.Pointer(&to[0])), uintptr(from), size(to), s.handle)); err != nil {
			return err
		}
	}
	return s.Wait()
}

func size[T any](x []T) uintptr { return uintptr(len(x)) * unsafe.Sizeof(x[0]) }
