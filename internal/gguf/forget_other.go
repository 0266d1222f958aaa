//go:build !unix

package gguf

// forget does nothing where the system takes pages back by itself.
func forget([]byte) {}
