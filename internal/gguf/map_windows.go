package gguf

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/windows"
)

// mapFile maps a regular file read-only.
func mapFile(path string) ([]byte, func() error, error) {
	file, size, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	mapping, err := windows.CreateFileMapping(windows.Handle(file.Fd()), nil, windows.PAGE_READONLY, 0, 0, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("map into memory: %w", err)
	}
	defer windows.CloseHandle(mapping) // the view keeps the mapping alive
	addr, err := windows.MapViewOfFile(mapping, windows.FILE_MAP_READ, 0, 0, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("map into memory: %w", err)
	}
	// The address is the kernel's, not the collector's; going through a pointer
	// to it says so to vet.
	data := unsafe.Slice(*(**byte)(unsafe.Pointer(&addr)), size)
	return data, func() error { return windows.UnmapViewOfFile(addr) }, nil
}
