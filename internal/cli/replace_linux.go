package cli

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"crayon/internal/fault"
)

// acceleratedName is the program with an accelerator: this one is static, and
// NVIDIA's libraries can only be linked dynamically.
const acceleratedName = "crayon-cuda"

// replace runs the same command as that program in this process.
func (a *app) replace() error {
	path, err := beside(acceleratedName)
	if err != nil {
		return &fault.Error{Op: "run on GPUs", Path: acceleratedName, Err: errors.New("the program is neither beside this one nor on the PATH"),
			Hint: "make cuda builds bin/crayon-cuda; or --device cpu"}
	}
	err = syscall.Exec(path, append([]string{acceleratedName}, a.args...), os.Environ())
	return &fault.Error{Op: "run on GPUs", Path: path, Err: err}
}

// beside is a program in the folder of this one, else on the PATH.
func beside(name string) (string, error) {
	if own, err := os.Executable(); err == nil {
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(own), name)); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(name)
}
