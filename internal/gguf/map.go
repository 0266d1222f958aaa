package gguf

import (
	"errors"
	"fmt"
	"math"
	"os"
)

// openRegular opens a regular file whose bytes, one at least, have indices.
func openRegular(path string) (*os.File, int, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil {
		switch size := info.Size(); {
		case !info.Mode().IsRegular():
			err = errors.New("not a regular file")
		case size == 0:
			err = errors.New("the file is empty")
		case size > math.MaxInt:
			err = fmt.Errorf("%d bytes are too many for this machine's address space", size)
		}
	}
	if err != nil {
		file.Close()
		return nil, 0, err
	}
	return file, int(info.Size()), nil
}
