// Given by the compiler's options: DIM (residual), FF, HEADS, KV (key heads),
// HD (width of a head), VOCAB, HALVES (rotary pairs half a head apart), EPS.
// Two-byte floats (bf16) are handled as their bits, eight at a time.
typedef unsigned short bf;
typedef unsigned int u32;

#define ALL 0xffffffffu
#define QD (HEADS * HD)
#define KD (KV * HD)
#define QKV (QD + 2 * KD)
#define REP (HEADS / KV)

__device__ __forceinline__ float low(u32 x) { return __uint_as_float(x << 16); }
__device__ __forceinline__ float high(u32 x) { return __uint_as_float(x & 0xffff0000u); }

// pack rounds two floats to the nearest bf16, ties to even.
__device__ __forceinline__ u32 pack(float a, float b) {
#ifdef __CUDA_ARCH__
	u32 x;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(x) : "f"(b), "f"(a));
	return x;
#else
	u32 x = __float_as_uint(a), y = __float_as_uint(b);
	x = a != a ? 0x7fffu : (x + 0x7fffu + ((x >> 16) & 1)) >> 16;
	y = b != b ? 0x7fffu : (y + 0x7fffu + ((y >> 16) & 1)) >> 16;
	return x | y << 16;
#endif
}

__device__ __forceinline__ float fastexp(float x) {
#ifdef __CUDA_ARCH__
	return __expf(x);
#else
	return expf(x);
#endif
}

__device__ __forceinline__ void load8(float* x, const bf* p) {
	uint4 v = *(const uint4*)p;
	x[0] = low(v.x), x[1] = high(v.x), x[2] = low(v.y), x[3] = high(v.y);
	x[4] = low(v.z), x[5] = high(v.z), x[6] = low(v.w), x[7] = high(v.w);
}

__device__ __forceinline__ void store8(bf* p, const float* x) {
	uint4 v;
	v.x = pack(x[0], x[1]), v.y = pack(x[2], x[3]), v.z = pack(x[4], x[5]), v.w = pack(x[6], x[7]);
	*(uint4*)p = v;
}

__device__ __forceinline__ void load8(float* x, const float* p) {
	float4 a = *(const float4*)p, b = *(const float4*)(p + 4);
	x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
}

__device__ __forceinline__ void store8(float* p, const float* x) {
	float4 a, b;
	a.x = x[0], a.y = x[1], a.z = x[2], a.w = x[3], b.x = x[4], b.y = x[5], b.z = x[6], b.w = x[7];
	*(float4*)p = a;
	*(float4*)(p + 4) = b;
}

// Sums and maxima over a warp or a block end the same in every thread, in an
// order that does not change from run to run.
__device__ __forceinline__ float warpsum(float x) {
	for (int i = 16; i > 0; i >>= 1) x += __shfl_xor_sync(ALL, x, i);
	return x;
}

__device__ __forceinline__ double blocksum(double x, double* shared) {
	__syncthreads();
	shared[threadIdx.x] = x;
	__syncthreads();
	for (int i = blockDim.x / 2; i > 0; i >>= 1) {
		if (threadIdx.x < i) shared[threadIdx.x] += shared[threadIdx.x + i];
		__syncthreads();
	}
	return shared[0];
}

// mma adds to c (16 x 8) the product of a (16 x 16) and b (16 x 8), spread over
// the warp as mma.m16n8k16 has it: with g = lane/4 and t = lane%4, a holds rows
// g, g+8 at columns 2t.. and again at 2t+8.., b rows 2t.. and 2t+8.. of column
// g, c rows g and g+8 at columns 2t...
__device__ __forceinline__ void mma(float* c, const u32* a, u32 b0, u32 b1) {
#ifdef __CUDA_ARCH__
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		: "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
		: "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
	int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
	for (int q = 0; q < 4; q++) {
		u32 a0 = __shfl_sync(ALL, a[0], g * 4 + q), a1 = __shfl_sync(ALL, a[1], g * 4 + q);
		u32 a2 = __shfl_sync(ALL, a[2], g * 4 + q), a3 = __shfl_sync(ALL, a[3], g * 4 + q);
		for (int j = 0; j < 2; j++) {
			u32 x = __shfl_sync(ALL, b0, (2 * t + j) * 4 + q), y = __shfl_sync(ALL, b1, (2 * t + j) * 4 + q);
			c[j] += low(a0) * low(x) + high(a0) * high(x) + low(a2) * low(y) + high(a2) * high(y);
			c[2 + j] += low(a1) * low(x) + high(a1) * high(x) + low(a3) * low(y) + high(a3) * high(y);
		}
	}
#endif
}
