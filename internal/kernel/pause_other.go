//go:build !amd64 && !arm64

package kernel

import "runtime"

// pause gives way for a moment inside a spin.
func pause(int64) { runtime.Gosched() }
