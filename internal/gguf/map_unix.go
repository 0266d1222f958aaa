//go:build unix

package gguf

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mapFile maps a regular file read-only.
func mapFile(path string) ([]byte, func() error, error) {
	file, size, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	data, err := unix.Mmap(int(file.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, fmt.Errorf("map into memory: %w", err)
	}
	return data, func() error { return unix.Munmap(data) }, nil
}

// forget gives the pages that lie within data back; they are read again when
// needed. data is of a file: of a mapping, or of the program itself.
func forget(data []byte) {
	page := os.Getpagesize()
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(data)))) & (page - 1)
	if n := (len(data) - skip) &^ (page - 1); n > 0 {
		_ = unix.Madvise(data[skip:skip+n], unix.MADV_DONTNEED)
	}
}
