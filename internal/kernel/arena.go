package kernel

import (
	"runtime"
	"unsafe"
)

// Arena is memory for matrices that are read together again and again, as a
// model's weights are. It lies outside the Go heap, so that the collector
// neither scans it nor lets as much garbage gather, and in large pages where
// the system has them: weights are read once a token, and with pages of 4 KiB
// every sixty-fourth cache line begins with a walk through the page tables.
// The memory is given back when neither the arena nor a matrix in it is in use.
// A nil Arena is the Go heap. An Arena is for one goroutine at a time.
type Arena struct {
	free  []byte
	tried []float32 // memory of the scales in full precision while a matrix is packed
}

// arenaChunk is what is asked of the system at a time, if it is enough.
const arenaChunk = 32 << 20

// bytes returns n bytes, zeros, that begin at a multiple of 64.
func (a *Arena) bytes(n int) []byte {
	n = (n + 63) &^ 63
	if n > len(a.free) {
		chunk, release := reserve(max(n, arenaChunk))
		if release != nil {
			runtime.AddCleanup(a, func(release func()) { release() }, release)
		}
		a.free = chunk
	}
	b := a.free[:n:n]
	a.free = a.free[n:]
	return b
}

// scales is memory for n scales until the next call.
func (a *Arena) scales(n int) []float32 {
	if a == nil {
		return aligned[float32](n)
	}
	if cap(a.tried) < n {
		a.tried = aligned[float32](n)
	}
	clear(a.tried[:n])
	return a.tried[:n]
}

// Trim gives back what only packing needs.
func (a *Arena) Trim() { a.tried = nil }

// take makes a slice of n values in the arena.
func take[T byte | uint16 | float32](a *Arena, n int) []T {
	if a == nil || n == 0 {
		return aligned[T](n)
	}
	var zero T
	b := a.bytes(n * int(unsafe.Sizeof(zero)))
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n)
}

// aligned makes a slice on the heap that starts at a multiple of 64 bytes, a
// cache line.
func aligned[T byte | int8 | uint16 | float32](n int) []T {
	var zero T
	size := int(unsafe.Sizeof(zero))
	s := make([]T, n+64/size)
	skip := 0
	if off := int(uintptr(unsafe.Pointer(unsafe.SliceData(s))) % 64); off != 0 {
		skip = (64 - off) / size
	}
	return s[skip : skip+n : skip+n]
}

// Floats makes a slice of n zeros on the heap, in large pages where it is big
// and the system has them: for what products go through again and again.
func Floats(n int) []float32 {
	x := make([]float32, n)
	preferLarge(x)
	return x
}
