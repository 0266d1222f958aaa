package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// largePage is the size and alignment of a large page on amd64 and arm64.
const largePage = 2 << 20

// reserve asks the system for at least n bytes in large pages. If it has none
// to give, they are small ones; if it refuses, the bytes are of the heap and
// there is nothing to release.
func reserve(n int) (chunk []byte, release func()) {
	n = (n + largePage - 1) &^ (largePage - 1)
	m, err := unix.Mmap(-1, 0, n+largePage, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return aligned[byte](n), nil
	}
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(m))) & (largePage - 1))
	chunk = m[skip : skip+n : skip+n]
	_ = unix.Madvise(chunk, unix.MADV_HUGEPAGE) // without them it is only slower
	return chunk, func() { _ = unix.Munmap(m) }
}

// preferLarge asks for large pages where x fills them. Where its memory is in
// use already they come later or not at all.
func preferLarge(x []float32) {
	at := uintptr(unsafe.Pointer(unsafe.SliceData(x)))
	skip := int(-at & (largePage - 1))
	if n := (4*len(x) - skip) &^ (largePage - 1); n > 0 {
		_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Pointer(&x[skip/4])), n), unix.MADV_HUGEPAGE)
	}
}
