//go:build linux && (amd64 || arm64)

package cuda

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"crayon/internal/fault"
)

// bf16 stands for CUDA's <cuda_bf16.h>, which the compiler's library does not
// hold and a machine that only runs kernels does not have.
//
//go:embed cuda_bf16.h
var bf16 string

// compiler is libnvrtc.
type compiler struct {
	create, destroy, compile, logSize, log, binarySize, binary, errorString uintptr
}

func (c *compiler) load(names []string) error {
	lib, err := open(names, []string{"libnvrtc-builtins.so.*"})
	if err != nil {
		return &fault.Error{Op: "load CUDA", Path: names[0], Err: err, Hint: "pip install nvidia-cuda-nvrtc, or set " + LibsVariable + " to the folder that holds it"}
	}
	return lib.bind(map[string]*uintptr{
		"nvrtcCreateProgram": &c.create, "nvrtcDestroyProgram": &c.destroy, "nvrtcCompileProgram": &c.compile,
		"nvrtcGetProgramLogSize": &c.logSize, "nvrtcGetProgramLog": &c.log,
		"nvrtcGetCUBINSize": &c.binarySize, "nvrtcGetCUBIN": &c.binary, "nvrtcGetErrorString": &c.errorString,
	})
}

// check turns the compiler's status into an error.
func (c *compiler) check(name string, status int32) error {
	if status == 0 {
		return nil
	}
	return &fault.Error{Op: "compile kernels", Path: name, Err: errors.New(c.why(status))}
}

// why is nvrtcGetErrorString.
func (c *compiler) why(status int32) string { return text(callText(c.errorString, uintptr(status))) }

// compileBinary turns CUDA C into machine code. The error carries the compiler's log.
func (c *compiler) compileBinary(name, source string, options []string) ([]byte, error) {
	var program uintptr
	src, file := terminated(source), terminated(name)
	header, headerName := terminated(bf16), terminated("cuda_bf16.h")
	headers, headerNames := []*byte{&header[0]}, []*byte{&headerName[0]}
	err := c.check(name, call(c.create, uintptr(unsafe.Pointer(&program)), uintptr(unsafe.Pointer(&src[0])), uintptr(unsafe.Pointer(&file[0])),
		1, uintptr(unsafe.Pointer(&headers[0])), uintptr(unsafe.Pointer(&headerNames[0]))))
	if err != nil {
		return nil, err
	}
	defer call(c.destroy, uintptr(unsafe.Pointer(&program)))
	args := make([]*byte, len(options)+1)
	for i, o := range options {
		args[i] = &terminated(o)[0]
	}
	status := call(c.compile, program, uintptr(len(options)), uintptr(unsafe.Pointer(&args[0])))
	if status != 0 {
		var n uint64
		if err := c.check(name, call(c.logSize, program, uintptr(unsafe.Pointer(&n)))); err != nil {
			return nil, err
		}
		log := make([]byte, n+1)
		if err := c.check(name, call(c.log, program, uintptr(unsafe.Pointer(&log[0])))); err != nil {
			return nil, err
		}
		why, _, _ := strings.Cut(string(log), "\x00")
		return nil, &fault.Error{Op: "compile kernels", Path: name, Err: fmt.Errorf("%s\n%s", c.why(status), strings.TrimSpace(why))}
	}
	var n uint64
	if err := c.check(name, call(c.binarySize, program, uintptr(unsafe.Pointer(&n)))); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, &fault.Error{Op: "compile kernels", Path: name, Err: errors.New("the compiler made no machine code")}
	}
	binary := make([]byte, n)
	if err := c.check(name, call(c.binary, program, uintptr(unsafe.Pointer(&binary[0])))); err != nil {
		return nil, err
	}
	return binary, nil
}

// Binary compiles CUDA C for an architecture such as "sm_90" and returns the
// machine code. It needs libnvrtc alone, no GPU.
func Binary(architecture, name, source string, options ...string) ([]byte, error) {
	var c compiler
	if err := c.load([]string{"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"}); err != nil {
		return nil, err
	}
	return c.compileBinary(name, source, append(slices.Clone(options), "--gpu-architecture="+architecture))
}

// Module is compiled kernels on a device.
type Module struct {
	device *Device
	handle uintptr
	name   string
}

// Compile compiles CUDA C for the device and loads it there. name stands for a
// file's in messages. Options are NVRTC's; the architecture is the device's
// unless one names it. <cuda_bf16.h> is the header of this package.
func (v *Device) Compile(name, source string, options ...string) (*Module, error) {
	if !slices.ContainsFunc(options, func(o string) bool { return strings.Contains(o, "-arch") || strings.HasPrefix(o, "--gpu-architecture") }) {
		options = append(slices.Clone(options), fmt.Sprintf("--gpu-architecture=sm_%d%d", v.Major, v.Minor))
	}
	binary, err := v.driver.compiler.compileBinary(name, source, options)
	if err != nil {
		return nil, err
	}
	m := &Module{device: v, name: name}
	if err := v.driver.check("load kernels", call(v.driver.calls.load, uintptr(unsafe.Pointer(&m.handle)), uintptr(unsafe.Pointer(&binary[0])))); err != nil {
		return nil, err
	}
	return m, nil
}

// Close unloads the module; its functions must not run again.
func (m *Module) Close() error {
	return m.device.driver.check("unload kernels", call(m.device.driver.calls.unload, m.handle))
}

// Function is a kernel.
type Function struct {
	module *Module
	handle uintptr
	name   string
	sizes  []uint8 // of its parameters in bytes; nil where the driver does not tell
	shared uint32  // dynamic shared memory that it may ask for
}

// plainShared is the dynamic shared memory that a kernel has without asking.
const plainShared = 48 << 10

// Function finds a kernel by its name, which is that of an extern "C" function.
func (m *Module) Function(name string) (*Function, error) {
	f := &Function{module: m, name: name, shared: plainShared}
	d := m.device.driver
	symbol := terminated(name)
	if err := d.check("find kernel", call(d.calls.function, uintptr(unsafe.Pointer(&f.handle)), m.handle, uintptr(unsafe.Pointer(&symbol[0])))); err != nil {
		return nil, &fault.Error{Op: "load kernels", Path: m.name, Err: fmt.Errorf("%s: %w", name, err)}
	}
	if d.paramInfo == 0 {
		return f, nil
	}
	f.sizes = []uint8{}
	for i := range maxParameters {
		var offset, size uint64
		if call(d.paramInfo, f.handle, uintptr(i), uintptr(unsafe.Pointer(&offset)), uintptr(unsafe.Pointer(&size))) != 0 {
			break // past the last
		}
		f.sizes = append(f.sizes, uint8(min(size, 255)))
	}
	return f, nil
}

// allow asks for more dynamic shared memory than a kernel has by itself.
func (f *Function) allow(shared uint32) error {
	if shared <= f.shared {
		return nil
	}
	const maxDynamicShared = 8
	d := f.module.device.driver
	if err := d.check("ask for shared memory", call(d.calls.setAttribute, f.handle, maxDynamicShared, uintptr(shared))); err != nil {
		return &fault.Error{Op: "launch", Path: f.name, Err: fmt.Errorf("%d bytes of shared memory, a block has %d at most: %w", shared, f.module.device.SharedMemory, err)}
	}
	f.shared = shared
	return nil
}

// unfit is the error of an argument that is not the kernel's parameter.
func (f *Function) unfit(i int, bytes uint8) error {
	if bytes == 0 {
		return &fault.Error{Op: "launch", Path: f.name, Err: fmt.Errorf("argument %d is of a type that no kernel takes", i)}
	}
	return &fault.Error{Op: "launch", Path: f.name, Err: fmt.Errorf("argument %d has %d bytes, the parameter %d", i, bytes, f.sizes[i])}
}
