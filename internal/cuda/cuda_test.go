//go:build linux && (amd64 || arm64)

package cuda

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"crayon/internal/fault"
	"crayon/internal/half"
	"crayon/test/softcuda"
)

// gpu opens the stand-in's first device on this test's thread.
func gpu(t *testing.T) (*Device, *Stream) {
	t.Helper()
	softcuda.Use(t)
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	d, err := Load()
	require.NoError(t, err)
	v, err := d.Open(0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, v.Close()) })
	s, err := v.Stream()
	require.NoError(t, err)
	return v, s
}

func function(t *testing.T, v *Device, source, name string) *Function {
	t.Helper()
	m, err := v.Compile("test.cu", source)
	require.NoError(t, err)
	f, err := m.Function(name)
	require.NoError(t, err)
	return f
}

func upload[T any](t require.TestingT, v *Device, s *Stream, from []T) Ptr {
	p, err := v.Alloc(uint64(size(from)))
	require.NoError(t, err)
	require.NoError(t, Upload(s, p, from))
	return p
}

func download[T any](t require.TestingT, s *Stream, p Ptr, n int) []T {
	to := make([]T, n)
	require.NoError(t, Download(s, to, p))
	return to
}

const axpy = `extern "C" __global__ void axpy(float a, const float* x, float* y, int n) {
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < n) y[i] += a * x[i];
}`

func TestLaunch(t *testing.T) {
	v, s := gpu(t)
	require.Equal(t, 9, v.Major)
	require.Equal(t, "soft CUDA", v.Name)
	f := function(t, v, axpy, "axpy")
	x, y := upload(t, v, s, []float32{1, 2, 3}), upload(t, v, s, []float32{10, 20, 30})
	grid, block := [3]uint32{1, 1, 1}, [3]uint32{32, 1, 1}
	require.NoError(t, s.Launch(f, grid, block, 0, float32(0.5), x, y, int32(3)))
	require.Equal(t, []float32{10.5, 21, 31.5}, download[float32](t, s, y, 3))

	require.ErrorContains(t, s.Launch(f, grid, block, 0, float32(0.5), x, y), "3 arguments for 4 parameters")
	require.ErrorContains(t, s.Launch(f, grid, block, 0, float32(0.5), x, int32(1), int32(3)), "argument 2 has 4 bytes, the parameter 8")
	require.ErrorContains(t, s.Launch(f, grid, block, 0, 0.5, x, y, int32(3)), "argument 0 is of a type that no kernel takes")
	require.ErrorContains(t, s.Launch(f, grid, [3]uint32{1025, 1, 1}, 0, float32(0.5), x, y, int32(3)), "CUDA_ERROR_INVALID_VALUE")
	allocs := testing.AllocsPerRun(100, func() {
		if err := s.Launch(f, grid, block, 0, float32(0), x, y, int32(3)); err != nil {
			panic(err)
		}
	})
	require.Zero(t, allocs)
	require.NoError(t, s.Copy(x, y, 8))
	require.NoError(t, s.Zero(y, 4))
	require.Equal(t, []float32{10.5, 21, 3}, download[float32](t, s, x, 3))
	require.Equal(t, []float32{0, 21, 31.5}, download[float32](t, s, y, 3))
	require.NoError(t, v.Free(x))
	require.NoError(t, v.Free(y))
	require.NoError(t, v.Wait())
	require.NoError(t, s.Close())
}

// Every way in which the threads of a block wait for each other.
const reduce = `
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
	for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
	return x;
}
extern "C" __global__ void __launch_bounds__(1024) reduce(const float* x, float* sums, int* order, int n) {
	extern __shared__ float mine[];
	__shared__ float of_warps[32];
	int row = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	for (int i = threadIdx.x; i < n; i += blockDim.x) mine[i] = x[row * n + i];
	__syncthreads();
	float sum = 0;
	for (int i = threadIdx.x; i < n; i += blockDim.x) sum += mine[n - 1 - i];
	sum = warp_sum(sum);
	if (lane == 0) of_warps[warp] = sum;
	__syncthreads();
	if (warp == 0) {
		sum = warp_sum(lane < blockDim.x / 32 ? of_warps[lane] : 0.0f);
		if (lane == 0) sums[row] = sum;
	}
	if (threadIdx.x >= 32) return; // the others go on without
	int up = __shfl_up_sync(0xffffffffu, lane, 1), down = __shfl_down_sync(0xffffffffu, lane, 3, 8), first = __shfl_sync(0xffffffffu, lane, 5, 16);
	unsigned odd = __ballot_sync(0xffffffffu, lane & 1);
	if (lane & 1) __syncwarp(0xaaaaaaaau);
	order[row * 32 + lane] = odd == 0xaaaaaaaau ? up * 10000 + down * 100 + first : -1;
	if (lane == 0) atomicAdd(&sums[gridDim.x], sum);
}`

func TestBarriersAndShuffles(t *testing.T) {
	v, s := gpu(t)
	f := function(t, v, reduce, "reduce")
	const rows = 3
	for _, n := range []int{1, 31, 300, 20000} {
		x := make([]float32, rows*n)
		want := make([]float32, rows+1)
		for i := range x {
			x[i] = float32(i % 17)
			want[i/n] += x[i]
			want[rows] += x[i]
		}
		sums, order := upload(t, v, s, make([]float32, rows+1)), upload(t, v, s, make([]int32, 32*rows))
		for _, threads := range []uint32{32, 256, 1024} {
			require.NoError(t, s.Zero(sums, 4*(rows+1)))
			require.NoError(t, s.Launch(f, [3]uint32{rows, 1, 1}, [3]uint32{threads, 1, 1}, uint32(4*n), upload(t, v, s, x), sums, order, int32(n)))
			require.Equal(t, want, download[float32](t, s, sums, rows+1), "%d threads", threads)
		}
		for i, got := range download[int32](t, s, order, 32*rows) {
			lane := i % 32
			up, down := max(lane-1, 0), lane+3
			if lane%8+3 > 7 {
				down = lane
			}
			require.Equal(t, int32(up*10000+down*100+lane/16*16+5), got, "lane %d", lane)
		}
	}
	err := s.Launch(f, [3]uint32{1, 1, 1}, [3]uint32{32, 1, 1}, 300<<10, Ptr(0), Ptr(0), Ptr(0), int32(0))
	require.ErrorContains(t, err, "a block has 232448 at most")
}

// brain is the bfloat16 nearest to x, of two the even one: by distance, not by
// the bits that are to be checked.
func brain(x float32) uint16 {
	down := uint16(math.Float32bits(x) >> 16)
	if math.IsInf(float64(x), 0) {
		return down
	}
	distance := func(h uint16) float64 {
		y := float64(half.Brain(h))
		if math.IsInf(y, 0) { // as if it were the next step
			y = math.Copysign(math.Exp2(128), y)
		}
		return math.Abs(y - float64(x))
	}
	switch d, u := distance(down), distance(down+1); {
	case d < u, d == u && down%2 == 0:
		return down
	default:
		return down + 1
	}
}

func TestHalves(t *testing.T) {
	v, s := gpu(t)
	f := function(t, v, `#include <cuda_bf16.h>
extern "C" __global__ void round(const float2* x, __nv_bfloat162* y, float* back, int n) {
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i >= n) return;
	y[i] = __float22bfloat162_rn(x[i]);
	back[2 * i] = __bfloat162float(__float2bfloat16(x[i].x));
	back[2 * i + 1] = __high2float(y[i]);
}`, "round")
	x := []float32{0, float32(math.Copysign(0, -1)), 1, -1, 1.00390625, 1.01171875, 3.4e38, 1e-40, float32(math.Inf(1)), float32(math.Inf(-1)), 0.1, -0.3}
	for i := range 500 {
		x = append(x, float32(math.Sin(float64(i))*math.Exp2(float64(i%60-30))))
	}
	n := len(x) / 2
	y, back := upload(t, v, s, make([]uint16, 2*n)), upload(t, v, s, make([]float32, 2*n))
	require.NoError(t, s.Launch(f, [3]uint32{uint32(n+63) / 64, 1, 1}, [3]uint32{64, 1, 1}, 0, upload(t, v, s, x), y, back, int32(n)))
	got, floats := download[uint16](t, s, y, 2*n), download[float32](t, s, back, 2*n)
	for i := range got {
		require.Equal(t, half.Brain(brain(x[i])), floats[i], "%v", x[i])
		require.Equal(t, floats[i], half.Brain(got[i]))
	}
}

func TestGemmIsTheProduct(t *testing.T) {
	v, s := gpu(t)
	b, err := v.Blas(s)
	require.NoError(t, err)
	round := func(x float32, to Type) float32 {
		if to == BF16 {
			return half.Brain(brain(x))
		}
		return x
	}
	put := func(rt *rapid.T, x []float32, as Type) Ptr {
		if as == F32 {
			return upload(rt, v, s, x)
		}
		h := make([]uint16, len(x))
		for i := range x {
			h[i] = brain(x[i])
		}
		return upload(rt, v, s, h)
	}
	rapid.Check(t, func(rt *rapid.T) {
		small := rapid.IntRange(1, 9)
		g := Gemm{
			M: small.Draw(rt, "m"), N: small.Draw(rt, "n"), K: small.Draw(rt, "k"), TransA: rapid.Bool().Draw(rt, "ta"), TransB: rapid.Bool().Draw(rt, "tb"),
			Alpha: 0.5, Beta: rapid.SampledFrom([]float32{0, 1, -2}).Draw(rt, "beta"), Batch: rapid.IntRange(0, 3).Draw(rt, "batch"),
		}
		if rapid.Bool().Draw(rt, "bf16") {
			g.TypeA, g.TypeB = BF16, BF16
			g.TypeC = rapid.SampledFrom([]Type{F32, BF16}).Draw(rt, "c")
		}
		rowsA, colsA, rowsB, colsB := g.M, g.K, g.K, g.N
		if g.TransA {
			rowsA, colsA = colsA, rowsA
		}
		if g.TransB {
			rowsB, colsB = colsB, rowsB
		}
		lda, ldb, ldc := colsA, colsB, g.N
		if rapid.Bool().Draw(rt, "gaps") {
			lda, ldb, ldc = lda+3, ldb+1, ldc+2
			g.LDA, g.LDB, g.LDC = lda, ldb, ldc
		}
		batch := max(1, g.Batch)
		values := func(n int, as Type) []float32 {
			x := make([]float32, n*batch)
			for i := range x {
				x[i] = round(float32(rapid.IntRange(-8, 8).Draw(rt, "x"))/4, as)
			}
			return x
		}
		g.StrideA, g.StrideB, g.StrideC = int64(rowsA*lda), int64(rowsB*ldb), int64(g.M*ldc)
		x, y, z := values(rowsA*lda, g.TypeA), values(rowsB*ldb, g.TypeB), values(g.M*ldc, g.TypeC)
		want := append([]float32(nil), z...)
		for t := range batch {
			for i := range g.M {
				for j := range g.N {
					var sum float32
					for l := range g.K {
						a, b := t*rowsA*lda+i*lda+l, t*rowsB*ldb+l*ldb+j
						if g.TransA {
							a = t*rowsA*lda + l*lda + i
						}
						if g.TransB {
							b = t*rowsB*ldb + j*ldb + l
						}
						sum += x[a] * y[b]
					}
					c := &want[t*g.M*ldc+i*ldc+j]
					*c = round(g.Alpha*sum+g.Beta**c, g.TypeC)
				}
			}
		}
		g.A, g.B, g.C = put(rt, x, g.TypeA), put(rt, y, g.TypeB), put(rt, z, g.TypeC)
		require.NoError(rt, b.Gemm(g))
		if g.TypeC == F32 {
			require.Equal(rt, want, download[float32](rt, s, g.C, len(z)))
		} else {
			for i, h := range download[uint16](rt, s, g.C, len(z)) {
				require.Equal(rt, want[i], half.Brain(h))
			}
		}
		for _, p := range []Ptr{g.A, g.B, g.C} {
			require.NoError(rt, v.Free(p))
		}
	})
	require.ErrorContains(t, b.Gemm(Gemm{M: 1, N: 1, K: 1, TypeA: BF16}), "a product that is none")
	require.ErrorContains(t, b.Gemm(Gemm{M: 1, N: 4, K: 1, LDB: 3}), "a product that is none")
	require.NoError(t, b.Close())
}

func TestRecordedWorkRunsAgain(t *testing.T) {
	v, s := gpu(t)
	f := function(t, v, axpy, "axpy")
	b, err := v.Blas(s)
	require.NoError(t, err)
	x, y := upload(t, v, s, []float32{1, 2}), upload(t, v, s, []float32{0, 0})
	g, err := s.Capture(func() error {
		if err := s.Launch(f, [3]uint32{1, 1, 1}, [3]uint32{2, 1, 1}, 0, float32(1), x, y, int32(2)); err != nil {
			return err
		}
		return b.Gemm(Gemm{M: 1, N: 2, K: 1, Alpha: 1, Beta: 1, A: x, B: x, C: y}) // y += x[0] x
	})
	require.NoError(t, err)
	require.Equal(t, []float32{0, 0}, download[float32](t, s, y, 2), "a recording does not run")
	require.NoError(t, g.Launch(s))
	require.NoError(t, g.Launch(s))
	require.Equal(t, []float32{4, 8}, download[float32](t, s, y, 2))
	require.NoError(t, Upload(s, x, []float32{0, 1}))
	require.NoError(t, g.Launch(s))
	require.Equal(t, []float32{4, 9}, download[float32](t, s, y, 2), "addresses are those of the recording, values those of now")
	require.NoError(t, g.Close())
	_, err = s.Capture(func() error { return s.Wait() })
	require.ErrorContains(t, err, "CAPTURE")
	require.NoError(t, s.Wait(), "the stream has left the recording")
}

func TestPinnedMemoryIsReadLater(t *testing.T) {
	v, s := gpu(t)
	p, err := v.Alloc(4)
	require.NoError(t, err)
	host, err := v.Pinned(4)
	require.NoError(t, err)
	require.NoError(t, Upload(s, p, host))
	host[0] = 7 // before the Wait: the device may read this
	require.Equal(t, []byte{7, 0, 0, 0}, download[byte](t, s, p, 4))
	plain := []byte{1, 2, 3, 4}
	require.NoError(t, Upload(s, p, plain))
	plain[0] = 9
	require.Equal(t, []byte{1, 2, 3, 4}, download[byte](t, s, p, 4))
	require.NoError(t, v.FreePinned(host))
}

// What a kernel or a caller may do wrong, and what is said of it.
func TestFaultsAreFound(t *testing.T) {
	source := `
extern "C" __global__ void over(float* x, int n) { x[(int)threadIdx.x + n] = 1; }
extern "C" __global__ void index(float* x, int n) { __shared__ float s[4]; s[(int)threadIdx.x + n] = 1; __syncthreads(); x[0] = s[0]; }
extern "C" __global__ void dynamic(float* x, int n) { extern __shared__ float s[]; s[n] = 1; x[0] = s[n]; }
extern "C" __global__ void apart(float* x, int n) { if (threadIdx.x < n) __syncthreads(); else __shfl_xor_sync(0xffffffffu, x[0], 1); }
extern "C" __global__ void unaligned(float* x, int n) { *(float4*)(x + n) = make_float4(1, 2, 3, 4); }
extern "C" __global__ void unset(float* x, int n) { __shared__ float s[4]; x[0] = s[n]; s[n] = 0; }
extern "C" __global__ void half(int* x, int n) { x[0] = 1 / (n - 3); }
`
	for _, c := range []struct {
		name    string
		n       int32
		message string
	}{
		{"over", 0, ""},
		{"over", 1, "kernel over, block (0,0,0), thread (7,0,0)"}, // 32 bytes: the float after the last
		{"over", 1000, "is not the kernel's: kernel over"},
		{"over", -8, "beside an allocation of 32 bytes"},
		{"over", 1 << 28, "is not the kernel's: kernel over"},
		{"index", -4, "test.cu:3: an index is outside of its array: kernel index"},
		{"index", 0, "test.cu:3: an index is outside of its array: kernel index, block (0,0,0), thread (4,0,0)"},
		{"dynamic", 3, ""},
		{"dynamic", 4, "is not the kernel's: kernel dynamic"},
		{"apart", 8, ""},
		{"apart", 4, "threads wait for others that never come"},
		{"unaligned", 4, ""},
		{"unaligned", 1, "test.cu:6: an address is not aligned to what it holds"},
		{"half", 3, "division by zero"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, s := gpu(t)
			f := function(t, v, source, c.name)
			x := upload(t, v, s, make([]float32, 8))
			require.NoError(t, s.Launch(f, [3]uint32{1, 1, 1}, [3]uint32{8, 1, 1}, 16, x, c.n))
			err := s.Wait()
			if c.message == "" {
				require.NoError(t, err)
				require.NoError(t, v.Free(x))
				return
			}
			require.ErrorContains(t, err, c.message)
			_, again := v.Alloc(4)
			require.ErrorContains(t, again, c.message, "as on a GPU, a failed kernel ends the context")
		})
	}
	t.Run("unset shared memory", func(t *testing.T) {
		v, s := gpu(t)
		f := function(t, v, source, "unset")
		x := upload(t, v, s, make([]float32, 8))
		for range 2 { // not even what the block before left
			require.NoError(t, s.Launch(f, [3]uint32{2, 1, 1}, [3]uint32{1, 1, 1}, 0, x, int32(1)))
			require.True(t, math.IsNaN(float64(download[float32](t, s, x, 1)[0])))
		}
	})
	t.Run("copies", func(t *testing.T) {
		v, s := gpu(t)
		x := upload(t, v, s, make([]float32, 8))
		require.ErrorContains(t, s.Zero(x, 33), "INVALID_VALUE")
		require.ErrorContains(t, s.Copy(x+16, x, 17), "INVALID_VALUE")
		require.ErrorContains(t, Upload(s, x+4, make([]float32, 8)), "INVALID_VALUE")
		require.ErrorContains(t, Download(s, make([]float32, 9), x), "INVALID_VALUE")
		require.NoError(t, v.Free(x))
		require.ErrorContains(t, v.Free(x), "INVALID_VALUE")
		require.ErrorContains(t, s.Zero(x, 4), "INVALID_VALUE", "given back")
	})
	t.Run("too much", func(t *testing.T) {
		t.Setenv("SOFTCUDA_MEMORY", "1000000")
		v, _ := gpu(t)
		_, err := v.Alloc(1 << 20)
		require.ErrorContains(t, err, "CUDA_ERROR_OUT_OF_MEMORY")
	})
	t.Run("another thread", func(t *testing.T) {
		v, _ := gpu(t)
		// A thread that an earlier test used may still have the context: of so
		// many at once most are new.
		const threads = 64
		failed, end := make(chan error, threads), make(chan struct{})
		for range threads {
			go func() {
				runtime.LockOSThread() // and the thread ends with the goroutine
				_, err := v.Alloc(4)
				failed <- err
				<-end
			}()
		}
		fresh := 0
		for range threads {
			if err := <-failed; err != nil {
				require.ErrorContains(t, err, "CUDA_ERROR_INVALID_CONTEXT")
				fresh++
			}
		}
		close(end)
		require.Positive(t, fresh)
	})
	t.Run("source", func(t *testing.T) {
		v, _ := gpu(t)
		_, err := v.Compile("wrong.cu", "\n"+`extern "C" __global__ void wrong(int n) { m = n; }`)
		require.ErrorContains(t, err, "wrong.cu:2")
		_, err = v.Compile("header.cu", "#include <stdint.h>\n")
		require.ErrorContains(t, err, "stdint.h", "NVRTC has none either")
		m, err := v.Compile("fine.cu", "#define K(n) extern \"C\" __global__ void n(int x) {}\nK(made) __global__ void mangled(int) {} // __global__ void other(\n")
		require.NoError(t, err)
		_, err = m.Function("made")
		require.NoError(t, err)
		_, err = m.Function("mangled")
		require.ErrorContains(t, err, "CUDA_ERROR_NOT_FOUND")
	})
}

// A kernel that gives other values in another order of threads is found by
// trying orders.
func TestOrderIsShuffled(t *testing.T) {
	if os.Getenv("SOFTCUDA_ORDER") == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestOrderIsShuffled$|^TestBarriersAndShuffles$", "-test.v")
		cmd.Env = append(os.Environ(), "SOFTCUDA_ORDER=7")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "--- PASS: TestOrderIsShuffled")
		return
	}
	v, s := gpu(t)
	f := function(t, v, `extern "C" __global__ void order(int* n, int* at) { at[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(n, 1); }`, "order")
	at := upload(t, v, s, make([]int32, 64))
	require.NoError(t, s.Launch(f, [3]uint32{8, 1, 1}, [3]uint32{8, 1, 1}, 0, upload(t, v, s, []int32{0}), at))
	got := download[int32](t, s, at, 64)
	require.False(t, slices.IsSorted(got))
	slices.Sort(got)
	require.Equal(t, int32(63), got[63])
	require.Equal(t, int32(0), got[0])
}

const rankVariable = "CUDA_TEST_RANK"

// TestSumOverProcesses starts itself twice, as two ranks.
func TestSumOverProcesses(t *testing.T) {
	v, s := gpu(t)
	if rank := os.Getenv(rankVariable); rank != "" {
		sumAsRank(t, v, s, int(rank[0]-'0'))
		return
	}
	id, err := UniqueID(v.driver)
	require.NoError(t, err)
	require.Equal(t, "0", os.Getenv("NCCL_NVLS_ENABLE"))
	var ranks [2]*exec.Cmd
	var out [2]bytes.Buffer
	for i := range ranks {
		ranks[i] = exec.Command(os.Args[0], "-test.run", "^TestSumOverProcesses$")
		ranks[i].Env = append(os.Environ(), fmt.Sprintf("%s=%d", rankVariable, i), "CUDA_TEST_ID="+hex.EncodeToString(id))
		ranks[i].Stdout, ranks[i].Stderr = &out[i], &out[i]
		require.NoError(t, ranks[i].Start())
	}
	for i := range ranks {
		require.NoError(t, ranks[i].Wait(), "rank %d: %s", i, &out[i])
	}
}

// TestSumOverThreads has two ranks in one process, each with its device.
func TestSumOverThreads(t *testing.T) {
	t.Setenv("SOFTCUDA_DEVICES", "2")
	softcuda.Use(t)
	d, err := Load()
	require.NoError(t, err)
	n, err := d.Count()
	require.NoError(t, err)
	require.Equal(t, 2, n)
	id, err := UniqueID(d)
	require.NoError(t, err)
	rank := func(rank int) error {
		runtime.LockOSThread() // and the thread ends with the goroutine
		v, err := d.Open(rank)
		if err != nil {
			return err
		}
		s, err := v.Stream()
		if err != nil {
			return err
		}
		c, err := v.Join(id, rank, 2)
		if err != nil {
			return err
		}
		p, err := v.Alloc(8)
		if err != nil {
			return err
		}
		x := []float32{float32(rank + 1), 10}
		if err := Upload(s, p, x); err != nil {
			return err
		}
		for range 20 {
			if err := c.Sum(s, p, 2, F32); err != nil {
				return err
			}
			if err := Download(s, x, p); err != nil {
				return err
			}
		}
		if x[0] != 3*(1<<19) || x[1] != 20*(1<<19) {
			return fmt.Errorf("rank %d has %v", rank, x)
		}
		return errors.Join(c.Close(), v.Free(p), v.Close())
	}
	failed := make(chan error, 2)
	for i := range 2 {
		go func() { failed <- rank(i) }()
	}
	require.NoError(t, errors.Join(<-failed, <-failed))
}

func sumAsRank(t *testing.T, v *Device, s *Stream, rank int) {
	id, err := hex.DecodeString(os.Getenv("CUDA_TEST_ID"))
	require.NoError(t, err)
	c, err := v.Join(id, rank, 2)
	require.NoError(t, err)
	x := upload(t, v, s, []float32{1, float32(rank)})
	require.NoError(t, c.Sum(s, x, 2, F32))
	require.NoError(t, c.Sum(s, x, 1, F32))
	require.Equal(t, []float32{4, 1}, download[float32](t, s, x, 2))
	h := upload(t, v, s, []uint16{brain(1.5), brain(float32(rank))})
	require.NoError(t, c.Sum(s, h, 2, BF16))
	require.Equal(t, []uint16{brain(3), brain(1)}, download[uint16](t, s, h, 2))
	require.NoError(t, c.Err())
	if rank == 1 {
		require.NoError(t, c.Close()) // and rank 0 sums alone
		return
	}
	require.NoError(t, c.Sum(s, x, 2, F32))
	require.ErrorContains(t, s.Wait(), "another rank has gone")
	require.ErrorContains(t, c.Err(), "NCCL: remote process exited")
	require.NoError(t, c.Abort())
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	d := &Driver{Version: 12040}
	require.Equal(t, []string{"libx.so.12", "libx.so"}, d.names("libx"), "a driver serves no newer library")
	_, err := open([]string{"libcrayon-none.so.1"}, nil)
	require.ErrorContains(t, err, "libcrayon-none.so.1")
	libs := softcuda.Build(t)
	broken := t.TempDir()
	require.NoError(t, os.WriteFile(broken+"/libnvrtc.so.13", []byte("no library"), 0o600))
	t.Setenv(LibsVariable, broken+":"+libs)
	_, err = Load()
	require.NoError(t, err, "the next folder's is taken")
	var c compiler
	err = c.load([]string{"libcrayon-none.so.13"})
	require.ErrorContains(t, err, "load CUDA libcrayon-none.so.13")
	require.Contains(t, fault.Hint(err), "pip install nvidia-cuda-nvrtc")
	err = c.load([]string{"libcuda.so.1"})
	require.ErrorContains(t, err, "it has no function nvrtc")
}
