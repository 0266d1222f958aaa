//go:build linux && (amd64 || arm64)

package cuda

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRealCompiler runs where CRAYON_NVRTC names a folder with libnvrtc; a GPU
// is not needed.
func TestRealCompiler(t *testing.T) {
	folder := os.Getenv("CRAYON_NVRTC")
	if folder == "" {
		t.Skip("CRAYON_NVRTC names no folder with libnvrtc")
	}
	t.Setenv(LibsVariable, folder)
	source := `#include <cuda_bf16.h>
extern "C" __global__ void round_all(const float2* from, __nv_bfloat162* to, float* back, int n) {
	__shared__ __nv_bfloat16 first[256];
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i >= n) return;
	to[i] = __hadd2(__float22bfloat162_rn(from[i]), __float2bfloat162_rn(1.0f));
	first[threadIdx.x] = __float2bfloat16(from[i].x);
	back[i] = __bfloat162float(first[threadIdx.x]) + __low2float(to[i]);
}`
	for _, arch := range []string{"sm_80", "sm_90"} {
		binary, err := Binary(arch, "round.cu", source)
		require.NoError(t, err)
		require.Equal(t, "\x7fELF", string(binary[:4]))
	}
	_, err := Binary("sm_90", "wrong.cu", `extern "C" __global__ void wrong(int n) { m = n; }`)
	require.ErrorContains(t, err, "wrong.cu(1)")
	require.ErrorContains(t, err, `identifier "m" is undefined`)
}
