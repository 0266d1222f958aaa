//go:build linux && (amd64 || arm64)

package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"crayon/internal/fault"
)

// Type is what an array holds (cudaDataType).
type Type int32

const (
	F32  Type = 0
	BF16 Type = 14
)

// Size is the bytes of one value.
func (t Type) Size() int {
	if t == BF16 {
		return 2
	}
	return 4
}

// blasCalls is libcublas.
type blasCalls struct {
	create, destroy, setStream, setWorkspace, gemm, batched, statusString uintptr
}

func (c *blasCalls) load(names []string) error {
	lib, err := open(names, []string{"libcublasLt.so.*"})
	if err != nil {
		return &fault.Error{Op: "load CUDA", Path: names[0], Err: err, Hint: "pip install nvidia-cublas, or set " + LibsVariable + " to the folder that holds it"}
	}
	return lib.bind(map[string]*uintptr{
		"cublasCreate_v2": &c.create, "cublasDestroy_v2": &c.destroy, "cublasSetStream_v2": &c.setStream, "cublasSetWorkspace_v2": &c.setWorkspace,
		"cublasGemmEx": &c.gemm, "cublasGemmStridedBatchedEx": &c.batched, "cublasGetStatusString": &c.statusString,
	})
}

func (c *blasCalls) check(op string, status int32) error {
	if status == 0 {
		return nil
	}
	return &fault.Error{Op: op, Err: fmt.Errorf("cuBLAS: %s (%d)", text(callText(c.statusString, uintptr(status))), status)}
}

// Blas multiplies matrices on a stream. With its own workspace and one stream
// it gives the same bits for the same products.
type Blas struct {
	device    *Device
	handle    uintptr
	workspace Ptr
	scales    [2]float32 // alpha and beta of the product that is being given
}

// workspace is what cuBLAS advises for devices of capability 9.
const workspace = 32 << 20

// Blas readies cuBLAS for the stream.
func (v *Device) Blas(s *Stream) (*Blas, error) {
	b := &Blas{device: v}
	c := &v.driver.products
	if err := c.check("start cuBLAS", call(c.create, uintptr(unsafe.Pointer(&b.handle)))); err != nil {
		return nil, err
	}
	var err error
	if b.workspace, err = v.Alloc(workspace); err == nil {
		// In this order: a new stream takes the workspace away.
		if err = c.check("start cuBLAS", call(c.setStream, b.handle, s.handle)); err == nil {
			err = c.check("start cuBLAS", call(c.setWorkspace, b.handle, uintptr(b.workspace), workspace))
		}
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close ends cuBLAS; its products are done.
func (b *Blas) Close() error {
	c := &b.device.driver.products
	return errors.Join(c.check("end cuBLAS", call(c.destroy, b.handle)), b.device.Free(b.workspace))
}

// Gemm is a product of matrices stored row by row,
// C[M x N] = Alpha op(A) op(B) + Beta C, with op(A) M x K and op(B) K x N.
type Gemm struct {
	TransA, TransB bool // op(A) is A's transpose, A being stored K x M; op(B) B's, stored N x K
	M, N, K        int
	Alpha, Beta    float32 // with Beta 0, C's values are not read
	A, B, C        Ptr
	LDA, LDB, LDC  int // values from one stored row to the next; 0: the rows follow each other

	TypeA, TypeB, TypeC Type // A's and B's are the same; C's is theirs or F32
	TF32                bool // F32 inputs are rounded to 10 bits of mantissa; else exact

	Batch                     int // products at Stride values from each other; 0 is 1
	StrideA, StrideB, StrideC int64
}

// Compute types of cuBLAS (cublasComputeType_t).
const (
	compute32   = 68
	computeTF32 = 77
)

// Gemm gives the product to the stream. Sums are in float32.
func (b *Blas) Gemm(g Gemm) error {
	or := func(x, otherwise int) uintptr {
		if x == 0 {
			x = otherwise
		}
		return uintptr(x)
	}
	rowA, rowB := g.K, g.N
	// cuBLAS stores by column: there the product is C' = op(B)' op(A)', and a
	// matrix stored by row is its own transpose.
	var transA, transB uintptr
	if g.TransA {
		rowA, transA = g.M, 1
	}
	if g.TransB {
		rowB, transB = g.K, 1
	}
	lda, ldb, ldc := or(g.LDA, rowA), or(g.LDB, rowB), or(g.LDC, g.N)
	if g.M < 0 || g.N < 0 || g.K < 0 || g.Batch < 0 || g.TypeA != g.TypeB || int(lda) < rowA || int(ldb) < rowB || int(ldc) < g.N {
		return &fault.Error{Op: "multiply on the GPU", Err: fmt.Errorf("a product that is none: %+v", g)}
	}
	if g.M == 0 || g.N == 0 {
		return nil
	}
	compute := uintptr(compute32)
	if g.TF32 && g.TypeA == F32 {
		compute = computeTF32
	}
	b.scales = [2]float32{g.Alpha, g.Beta}
	alpha, beta := uintptr(unsafe.Pointer(&b.scales[0])), uintptr(unsafe.Pointer(&b.scales[1]))
	const defaultAlgorithm = ^uintptr(0) // -1
	c := &b.device.driver.products
	var status int32
	if g.Batch > 1 {
		status = call(c.batched, b.handle, transB, transA, uintptr(g.N), uintptr(g.M), uintptr(g.K), alpha,
			uintptr(g.B), uintptr(g.TypeB), ldb, uintptr(g.StrideB), uintptr(g.A), uintptr(g.TypeA), lda, uintptr(g.StrideA), beta,
			uintptr(g.C), uintptr(g.TypeC), ldc, uintptr(g.StrideC), uintptr(g.Batch), compute, defaultAlgorithm)
	} else {
		status = call(c.gemm, b.handle, transB, transA, uintptr(g.N), uintptr(g.M), uintptr(g.K), alpha,
			uintptr(g.B), uintptr(g.TypeB), ldb, uintptr(g.A), uintptr(g.TypeA), lda, beta,
			uintptr(g.C), uintptr(g.TypeC), ldc, compute, defaultAlgorithm)
	}
	if status != 0 {
		return &fault.Error{Op: "multiply on the GPU", Err: fmt.Errorf("%d x %d x %d: %w", g.M, g.K, g.N, c.check("cublasGemmEx", status))}
	}
	return nil
}
