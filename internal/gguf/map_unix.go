//go:build unix

package gguf

import (
	"fmt"

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

// forget gives the pages of a mapping back; they are read again when needed.
func forget(data []byte) { _ = unix.Madvise(data, unix.MADV_DONTNEED) }
