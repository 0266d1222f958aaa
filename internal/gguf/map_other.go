//go:build !unix && !windows

package gguf

import "io"

// mapFile reads the whole file where memory mapping is not to be had.
func mapFile(path string) ([]byte, func() error, error) {
	file, size, err := openRegular(path)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	data := make([]byte, size)
	if _, err := io.ReadFull(file, data); err != nil {
		return nil, nil, err
	}
	return data, func() error { return nil }, nil
}
