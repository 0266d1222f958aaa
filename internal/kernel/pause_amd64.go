package kernel

// pause runs n PAUSE instructions, n > 0: for a spin.
//
//go:noescape
func pause(n int64)
