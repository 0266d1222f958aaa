// What kernels use of CUDA's <cuda_bf16.h>: the types and conversions, with the
// same names and roundings. Arithmetic is done in float and rounded once.
#pragma once

#define CRAYON_BF16_CALL __device__ __forceinline__

struct __align__(2) __nv_bfloat16 {
	unsigned short x;
	__nv_bfloat16() = default;
	CRAYON_BF16_CALL __nv_bfloat16(float f);
	CRAYON_BF16_CALL operator float() const { return __uint_as_float((unsigned)x << 16); }
};

struct __align__(4) __nv_bfloat162 {
	__nv_bfloat16 x, y;
	__nv_bfloat162() = default;
	CRAYON_BF16_CALL __nv_bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) : x(a), y(b) {}
};

typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

CRAYON_BF16_CALL unsigned short __bfloat16_as_ushort(__nv_bfloat16 a) { return a.x; }
CRAYON_BF16_CALL __nv_bfloat16 __ushort_as_bfloat16(unsigned short u) {
	__nv_bfloat16 a;
	a.x = u;
	return a;
}

// To the nearest, ties to even.
CRAYON_BF16_CALL __nv_bfloat16 __float2bfloat16_rn(float f) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
	unsigned short u;
	asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(u) : "f"(f));
	return __ushort_as_bfloat16(u);
#else
	unsigned u = __float_as_uint(f);
	if ((u & 0x7fffffffu) > 0x7f800000u) return __ushort_as_bfloat16(0x7fff);
	return __ushort_as_bfloat16((unsigned short)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16));
#endif
}
CRAYON_BF16_CALL __nv_bfloat16::__nv_bfloat16(float f) { x = __float2bfloat16_rn(f).x; }
CRAYON_BF16_CALL __nv_bfloat16 __float2bfloat16(float f) { return __float2bfloat16_rn(f); }
CRAYON_BF16_CALL float __bfloat162float(__nv_bfloat16 a) { return (float)a; }

// Two values: x is the lower half of the word.
CRAYON_BF16_CALL __nv_bfloat162 __floats2bfloat162_rn(float a, float b) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
	unsigned u;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(u) : "f"(b), "f"(a));
	return __nv_bfloat162(__ushort_as_bfloat16((unsigned short)u), __ushort_as_bfloat16((unsigned short)(u >> 16)));
#else
	return __nv_bfloat162(__float2bfloat16_rn(a), __float2bfloat16_rn(b));
#endif
}
CRAYON_BF16_CALL __nv_bfloat162 __float22bfloat162_rn(float2 a) { return __floats2bfloat162_rn(a.x, a.y); }
CRAYON_BF16_CALL __nv_bfloat162 __float2bfloat162_rn(float a) { return __floats2bfloat162_rn(a, a); }
CRAYON_BF16_CALL float2 __bfloat1622float2(__nv_bfloat162 a) { return make_float2((float)a.x, (float)a.y); }
CRAYON_BF16_CALL float __low2float(__nv_bfloat162 a) { return (float)a.x; }
CRAYON_BF16_CALL float __high2float(__nv_bfloat162 a) { return (float)a.y; }
CRAYON_BF16_CALL __nv_bfloat16 __low2bfloat16(__nv_bfloat162 a) { return a.x; }
CRAYON_BF16_CALL __nv_bfloat16 __high2bfloat16(__nv_bfloat162 a) { return a.y; }
CRAYON_BF16_CALL __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 a, __nv_bfloat16 b) { return __nv_bfloat162(a, b); }
CRAYON_BF16_CALL __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 a) { return __nv_bfloat162(a, a); }

CRAYON_BF16_CALL __nv_bfloat16 __hadd(__nv_bfloat16 a, __nv_bfloat16 b) { return __float2bfloat16_rn((float)a + (float)b); }
CRAYON_BF16_CALL __nv_bfloat16 __hsub(__nv_bfloat16 a, __nv_bfloat16 b) { return __float2bfloat16_rn((float)a - (float)b); }
CRAYON_BF16_CALL __nv_bfloat16 __hmul(__nv_bfloat16 a, __nv_bfloat16 b) { return __float2bfloat16_rn((float)a * (float)b); }
CRAYON_BF16_CALL __nv_bfloat16 __hfma(__nv_bfloat16 a, __nv_bfloat16 b, __nv_bfloat16 c) { return __float2bfloat16_rn(fmaf((float)a, (float)b, (float)c)); }
CRAYON_BF16_CALL __nv_bfloat162 __hadd2(__nv_bfloat162 a, __nv_bfloat162 b) { return __nv_bfloat162(__hadd(a.x, b.x), __hadd(a.y, b.y)); }
CRAYON_BF16_CALL __nv_bfloat162 __hsub2(__nv_bfloat162 a, __nv_bfloat162 b) { return __nv_bfloat162(__hsub(a.x, b.x), __hsub(a.y, b.y)); }
CRAYON_BF16_CALL __nv_bfloat162 __hmul2(__nv_bfloat162 a, __nv_bfloat162 b) { return __nv_bfloat162(__hmul(a.x, b.x), __hmul(a.y, b.y)); }
CRAYON_BF16_CALL __nv_bfloat162 __hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c) { return __nv_bfloat162(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)); }

#undef CRAYON_BF16_CALL
