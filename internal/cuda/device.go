//go:build linux && (amd64 || arm64)

package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"crayon/internal/fault"
)

// Device is one GPU, in its primary context.
type Device struct {
	Name            string
	Memory          uint64 // bytes
	Major, Minor    int    // compute capability
	Multiprocessors int
	SharedMemory    int // bytes of shared memory that a block can ask for at most

	driver  *Driver
	number  int32
	context uintptr
}

// Attributes of a device (CUdevice_attribute).
const (
	multiprocessors = 16
	capabilityMajor = 75
	capabilityMinor = 76
	sharedOptIn     = 97
)

// Open opens GPU n and uses it on the calling thread, to which the caller has
// locked its goroutine.
func (d *Driver) Open(n int) (*Device, error) {
	count, err := d.Count()
	if err != nil {
		return nil, err
	}
	if n < 0 || n >= count {
		return nil, &fault.Error{Op: fmt.Sprintf("open GPU %d", n), Err: fmt.Errorf("there are %d", count), Hint: "nvidia-smi lists the GPUs; CUDA_VISIBLE_DEVICES may hide some", Exit: fault.ExitUsage}
	}
	v := &Device{driver: d}
	c := &d.calls
	if err := d.check("open GPU", call(c.get, uintptr(unsafe.Pointer(&v.number)), uintptr(n))); err != nil {
		return nil, err
	}
	var name [256]byte
	if err := d.check("name GPU", call(c.name, uintptr(unsafe.Pointer(&name[0])), uintptr(len(name)-1), uintptr(v.number))); err != nil {
		return nil, err
	}
	v.Name = text(&name[0])
	if err := d.check("size GPU", call(c.memory, uintptr(unsafe.Pointer(&v.Memory)), uintptr(v.number))); err != nil {
		return nil, err
	}
	for attribute, field := range map[uintptr]*int{multiprocessors: &v.Multiprocessors, capabilityMajor: &v.Major, capabilityMinor: &v.Minor, sharedOptIn: &v.SharedMemory} {
		var x int32
		if err := d.check("describe GPU", call(c.attribute, uintptr(unsafe.Pointer(&x)), attribute, uintptr(v.number))); err != nil {
			return nil, err
		}
		*field = int(x)
	}
	if v.Major < 8 {
		return nil, &fault.Error{Op: "open GPU", Path: v.Name, Err: fmt.Errorf("its compute capability is %d.%d; training in bfloat16 needs 8.0", v.Major, v.Minor), Hint: "train with --device cpu"}
	}
	if err := d.check("open GPU", call(c.retain, uintptr(unsafe.Pointer(&v.context)), uintptr(v.number))); err != nil {
		return nil, err
	}
	if err := v.Use(); err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// Use makes the device that of the calling thread.
func (v *Device) Use() error { return v.driver.check("use GPU", call(v.driver.calls.use, v.context)) }

// Wait waits for all that the device was given to do.
func (v *Device) Wait() error {
	return v.driver.check("wait for GPU", call(v.driver.calls.sync))
}

// Close gives the device back. Everything that hung from it must be closed.
func (v *Device) Close() error {
	return v.driver.check("close GPU", call(v.driver.calls.release, uintptr(v.number)))
}
