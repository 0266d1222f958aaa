//go:build !linux

package cli

import (
	"errors"

	"crayon/internal/fault"
)

func (a *app) replace() error {
	return &fault.Error{Op: "run on GPUs", Err: errors.New("NVIDIA GPUs are used on Linux alone"), Hint: "--device cpu"}
}
