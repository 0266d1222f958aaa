//go:build amd64 || arm64

package kernel

import "unsafe"

// pointers returns where the quants and the scales of a panel begin.
func (w *Matrix) pointers(panel int) (quants, scales unsafe.Pointer) {
	if w.form == formFloat {
		return unsafe.Pointer(&w.floats[panel*w.cols*lanes]), nil
	}
	quants = unsafe.Pointer(&w.quants[panel*w.panelBytes()])
	at := panel * w.blocks * w.scaleLanes()
	if w.scaling == scaleFull {
		return quants, unsafe.Pointer(&w.full[at])
	}
	return quants, unsafe.Pointer(&w.half[at])
}
