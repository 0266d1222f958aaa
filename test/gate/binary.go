package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"crayon/internal/fault"
)

// binarySize is the size of the program for linux/amd64 as it is released, but
// for what names the commit. It is built in dir.
func binarySize(ctx context.Context, dir string) (int64, error) {
	path := filepath.Join(dir, "crayon")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, "crayon/cmd/crayon")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, &fault.Error{Op: "build", Path: "cmd/crayon", Err: fmt.Errorf("%w\n%s", err, strings.TrimSpace(string(out)))}
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
