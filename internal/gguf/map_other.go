//go:build !unix && !windows

package gguf

import (
	"errors"
	"os"
)

// mapFile reads the whole file where memory mapping is not to be had.
func mapFile(path string) ([]byte, func() error, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	if len(data) == 0 {
		return nil, nil, errors.New("the file is empty")
	}
	return data, func() error { return nil }, nil
}
