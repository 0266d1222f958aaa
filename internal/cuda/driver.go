//go:build linux && (amd64 || arm64)

package cuda

import (
	"fmt"
	"unsafe"

	"crayon/internal/fault"
)

// Driver is the machine's CUDA.
type Driver struct {
	Version int // of the CUDA that the driver serves, such as 13000

	calls struct {
		errorName, errorString, init, version, count,
		get, name, memory, attribute, retain, release, use, sync,
		alloc, free, allocHost, freeHost, info,
		streamCreate, streamDestroy, streamSync, upload, download, copy, zero,
		load, unload, function, setAttribute, launch,
		capture, captureEnd, instantiate, graphLaunch, graphDestroy, execDestroy uintptr
	}
	paramInfo uintptr // cuFuncGetParamInfo; 0 before CUDA 12.4
	compiler  compiler
	products  blasCalls
	sums      ncclCalls // opened by the first Join or UniqueID
}

// Load opens the driver, the compiler of kernels, and cuBLAS: from the folders
// of LibsVariable, else where the loader finds them, else where CUDA's
// installers and Python's packages put them.
func Load() (*Driver, error) {
	d := &Driver{}
	lib, err := open([]string{"libcuda.so.1", "libcuda.so"}, nil)
	if err != nil {
		return nil, &fault.Error{Op: "load CUDA", Path: "libcuda.so.1", Err: err, Hint: "install the NVIDIA driver, or train with --device cpu"}
	}
	c := &d.calls
	err = lib.bind(map[string]*uintptr{
		"cuGetErrorName": &c.errorName, "cuGetErrorString": &c.errorString,
		"cuInit": &c.init, "cuDriverGetVersion": &c.version, "cuDeviceGetCount": &c.count,
		"cuDeviceGet": &c.get, "cuDeviceGetName": &c.name, "cuDeviceTotalMem_v2": &c.memory, "cuDeviceGetAttribute": &c.attribute,
		"cuDevicePrimaryCtxRetain": &c.retain, "cuDevicePrimaryCtxRelease_v2": &c.release, "cuCtxSetCurrent": &c.use, "cuCtxSynchronize": &c.sync,
		"cuMemAlloc_v2": &c.alloc, "cuMemFree_v2": &c.free, "cuMemAllocHost_v2": &c.allocHost, "cuMemFreeHost": &c.freeHost, "cuMemGetInfo_v2": &c.info,
		"cuStreamCreate": &c.streamCreate, "cuStreamDestroy_v2": &c.streamDestroy, "cuStreamSynchronize": &c.streamSync,
		"cuMemcpyHtoDAsync_v2": &c.upload, "cuMemcpyDtoHAsync_v2": &c.download, "cuMemcpyDtoDAsync_v2": &c.copy, "cuMemsetD8Async": &c.zero,
		"cuModuleLoadData": &c.load, "cuModuleUnload": &c.unload, "cuModuleGetFunction": &c.function, "cuFuncSetAttribute": &c.setAttribute, "cuLaunchKernel": &c.launch,
		"cuStreamBeginCapture_v2": &c.capture, "cuStreamEndCapture": &c.captureEnd, "cuGraphInstantiateWithFlags": &c.instantiate,
		"cuGraphLaunch": &c.graphLaunch, "cuGraphDestroy": &c.graphDestroy, "cuGraphExecDestroy": &c.execDestroy,
	})
	if err != nil {
		return nil, err
	}
	// Not an error where it is missing: then no launch's arguments are checked.
	_ = lib.bind(map[string]*uintptr{"cuFuncGetParamInfo": &d.paramInfo})
	if err := d.check("start CUDA", call(c.init, 0)); err != nil {
		return nil, err
	}
	var version int32
	if err := d.check("read CUDA's version", call(c.version, uintptr(unsafe.Pointer(&version)))); err != nil {
		return nil, err
	}
	d.Version = int(version)
	if err := d.compiler.load(d.names("libnvrtc")); err != nil {
		return nil, err
	}
	if err := d.products.load(d.names("libcublas")); err != nil {
		return nil, err
	}
	return d, nil
}

// names are the files of a library that the driver can serve, newest first.
func (d *Driver) names(library string) []string {
	var names []string
	for major := 13; major >= 12; major-- {
		if d.Version >= major*1000 {
			names = append(names, fmt.Sprintf("%s.so.%d", library, major))
		}
	}
	return append(names, library+".so")
}

// check turns a driver's status into an error.
func (d *Driver) check(op string, status int32) error {
	if status == 0 {
		return nil
	}
	var name, why *byte
	call(d.calls.errorName, uintptr(status), uintptr(unsafe.Pointer(&name)))
	call(d.calls.errorString, uintptr(status), uintptr(unsafe.Pointer(&why)))
	e := &fault.Error{Op: op, Err: fmt.Errorf("%s (%d): %s", text(name), status, text(why))}
	switch status {
	case 2: // CUDA_ERROR_OUT_OF_MEMORY
		e.Hint = "use smaller steps (step_tokens), or end what else uses the GPU: nvidia-smi"
	case 100, 101: // no device, or none of that number
		e.Hint = "nvidia-smi lists the GPUs; CUDA_VISIBLE_DEVICES may hide some"
	}
	return e
}

// Count is how many GPUs there are.
func (d *Driver) Count() (int, error) {
	var n int32
	err := d.check("count GPUs", call(d.calls.count, uintptr(unsafe.Pointer(&n))))
	return int(n), err
}
