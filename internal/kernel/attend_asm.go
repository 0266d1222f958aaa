//go:build amd64 || arm64

package kernel

import "unsafe"

// attendArgs are the arguments of the attention products, which the assembly
// reads by offset (gen/attend.go). Steps are in bytes.
type attendArgs struct {
	dst     *float32
	dstStep int
	x       *float32 // queries, or weights
	xStep   int
	kv      *uint16
	kvStep  int
	n       int // panels of keys, or positions
	width   int // of a key
}

// runAttend runs a function by its place in the table: for each shape, level
// after level, ScoreKeys, SumValues of a wide part, SumValues of 16 values.
//
//go:noescape
func runAttend(kernel int, args *attendArgs)

// attendShape is a line of the table.
type attendShape struct{ rows, wide int }

// pick is the shape with the most rows that are there.
func pick(shapes []attendShape, rows int) int {
	i := len(shapes) - 1
	for shapes[i].rows > rows {
		i--
	}
	return i
}

func scoreKeys(dst []float32, stride int, q []float32, rows, width int, keys []uint16, step, panels int) {
	shapes, at := attendLevel()
	if shapes == nil {
		plainScoreKeys(dst, stride, q, rows, width, keys, step, panels)
		return
	}
	args := attendArgs{dstStep: 4 * stride, xStep: 4 * width, kv: unsafe.SliceData(keys), kvStep: 2 * step, n: panels, width: width}
	for r := 0; r < rows; {
		i := pick(shapes, rows-r)
		args.dst, args.x = &dst[r*stride], &q[r*width]
		runAttend(at+3*i, &args)
		r += shapes[i].rows
	}
}

func sumValues(dst []float32, rows, width int, p []float32, stride int, values []uint16, step, n int) {
	shapes, at := attendLevel()
	whole := width &^ 15
	if shapes == nil {
		whole = 0
	}
	args := attendArgs{dstStep: 4 * width, xStep: 4 * stride, kvStep: 2 * step, n: n}
	for r := 0; r < rows && whole > 0; {
		i := pick(shapes, rows-r)
		args.x = &p[r*stride]
		for d := 0; d < whole; {
			part, kind := shapes[i].wide, 1
			if whole-d < part {
				part, kind = 16, 2
			}
			args.dst, args.kv = &dst[r*width+d], &values[d]
			runAttend(at+3*i+kind, &args)
			d += part
		}
		r += shapes[i].rows
	}
	if whole < width {
		plainSumValues(dst, rows, width, whole, p, stride, values, step, n)
	}
}
