//go:build linux && (amd64 || arm64)

package cuda

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/ebitengine/purego"

	"crayon/internal/fault"
)

// LibsVariable names the environment variable that lists folders to look for
// NVIDIA's libraries in before all others, separated by colons.
const LibsVariable = "CRAYON_CUDA_LIBS"

// library is an opened shared library.
type library struct {
	path   string
	handle uintptr
}

// open opens the first of the file names that some folder of the search order
// holds. besides are patterns of files that the library loads by itself from
// its own folder, which the loader may not know: they are opened before it.
func open(names, besides []string) (library, error) {
	var tried []error
	// What failed is kept by thread: a goroutine that moved would not hear it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attempt := func(path string) (library, bool) {
		h, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
		if err != nil {
			tried = append(tried, fmt.Errorf("%s: %w", filepath.Base(path), err))
			return library{}, false
		}
		return library{path, h}, true
	}
	within := func(folders []string) (library, bool) {
		for _, name := range names {
			for _, folder := range folders {
				path := filepath.Join(folder, name)
				if _, err := os.Stat(path); err != nil {
					continue
				}
				for _, pattern := range besides {
					more, _ := filepath.Glob(filepath.Join(folder, pattern))
					for _, m := range more {
						// The library says itself what it misses, if this fails.
						_, _ = purego.Dlopen(m, purego.RTLD_NOW|purego.RTLD_GLOBAL)
					}
				}
				if l, ok := attempt(path); ok {
					return l, true
				}
			}
		}
		return library{}, false
	}
	if l, ok := within(filepath.SplitList(os.Getenv(LibsVariable))); ok {
		return l, nil
	}
	for _, name := range names {
		if l, ok := attempt(name); ok {
			return l, nil
		}
	}
	if l, ok := within(installed()); ok {
		return l, nil
	}
	return library{}, errors.Join(tried...)
}

// installed are the folders where CUDA's installers and Python's packages put
// libraries, those of the newest CUDA first.
func installed() []string {
	patterns := []string{"/usr/local/cuda/lib64", "/usr/local/cuda-*/lib64", "/usr/local/nvidia/lib64"}
	python := []string{"/usr/lib", "/usr/local/lib", "/opt/*/.venv/lib", "/opt/venv/lib"}
	for _, variable := range []string{"VIRTUAL_ENV", "CONDA_PREFIX"} {
		if at := os.Getenv(variable); at != "" {
			patterns = append(patterns, filepath.Join(at, "lib"))
			python = append(python, filepath.Join(at, "lib"))
		}
	}
	for _, at := range python {
		for _, packages := range []string{"site-packages", "dist-packages"} {
			patterns = append(patterns, filepath.Join(at, "python3*", packages, "nvidia", "*", "lib"))
		}
	}
	var folders []string
	for _, p := range patterns {
		found, _ := filepath.Glob(p)
		slices.Reverse(found)
		folders = append(folders, found...)
	}
	return folders
}

// bind looks each name up and stores its address.
func (l library) bind(symbols map[string]*uintptr) error {
	for name, at := range symbols {
		p, err := purego.Dlsym(l.handle, name)
		if err != nil {
			return &fault.Error{Op: "load CUDA", Path: l.path, Err: fmt.Errorf("it has no function %s", name), Hint: "install CUDA 12 or newer"}
		}
		*at = p
	}
	return nil
}

// call calls a C function of integers and pointers and returns its status.
//
//go:uintptrescapes
func call(fn uintptr, args ...uintptr) int32 {
	r, _, _ := purego.SyscallN(fn, args...)
	return int32(r)
}

// terminated is s as C reads it.
func terminated(s string) []byte { return append([]byte(s), 0) }

// text reads a C string of at most 4096 bytes; nil is "".
func text(p *byte) string {
	if p == nil {
		return ""
	}
	var b strings.Builder
	for i := range 4096 {
		c := *(*byte)(unsafe.Add(unsafe.Pointer(p), i))
		if c == 0 {
			break
		}
		b.WriteByte(c)
	}
	return b.String()
}

// callText calls a C function that returns a string.
//
//go:uintptrescapes
func callText(fn uintptr, args ...uintptr) *byte {
	r, _, _ := purego.SyscallN(fn, args...)
	return *(**byte)(unsafe.Pointer(&r)) // C's memory: Go's rules on uintptr do not bear on it
}
