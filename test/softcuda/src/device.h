// What NVRTC knows by itself, for kernels that are compiled for the CPU.
#pragma once
#include "soft.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <utility>

// NVRTC has neither.
#undef INFINITY
#undef NAN

extern "C" {
static soft::Block *soft_block;
extern unsigned char __start_soft_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_soft_shared[] __attribute__((weak, visibility("hidden")));
}

#define __global__ static
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define alignas(n) __attribute__((aligned(n)))
// Blocks run one at a time, so that a static variable is a block's own.
#define __shared__ static __attribute__((section("soft_shared")))

#define threadIdx (soft_block->self->index)
#define blockIdx (soft_block->index)
#define blockDim (soft_block->size)
#define gridDim (soft_block->grid)
constexpr int warpSize = 32;

// ---- vectors ----

#define SOFT_VECTOR1(T, name, align) \
	struct __align__(align) name##1 { T x; }; \
	static inline name##1 make_##name##1(T x) { return {x}; }
#define SOFT_VECTOR2(T, name, align) \
	struct __align__(align) name##2 { T x, y; }; \
	static inline name##2 make_##name##2(T x, T y) { return {x, y}; }
#define SOFT_VECTOR3(T, name, align) \
	struct __align__(align) name##3 { T x, y, z; }; \
	static inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }
#define SOFT_VECTOR4(T, name, align) \
	struct __align__(align) name##4 { T x, y, z, w; }; \
	static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
#define SOFT_VECTORS(T, name, size) \
	SOFT_VECTOR1(T, name, size) SOFT_VECTOR2(T, name, 2 * size) SOFT_VECTOR3(T, name, size) SOFT_VECTOR4(T, name, (size > 4 ? 16 : 4 * size))
SOFT_VECTORS(signed char, char, 1)
SOFT_VECTORS(unsigned char, uchar, 1)
SOFT_VECTORS(short, short, 2)
SOFT_VECTORS(unsigned short, ushort, 2)
SOFT_VECTORS(int, int, 4)
SOFT_VECTORS(unsigned, uint, 4)
SOFT_VECTORS(long long, longlong, 8)
SOFT_VECTORS(unsigned long long, ulonglong, 8)
SOFT_VECTORS(float, float, 4)
SOFT_VECTORS(double, double, 8)

struct dim3 {
	unsigned x = 1, y = 1, z = 1;
	dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

// ---- bits ----

template <class To, class From> static inline To soft_bits(From from) {
	static_assert(sizeof(To) == sizeof(From));
	To to;
	memcpy(&to, &from, sizeof to);
	return to;
}
static inline unsigned __float_as_uint(float f) { return soft_bits<unsigned>(f); }
static inline int __float_as_int(float f) { return soft_bits<int>(f); }
static inline float __uint_as_float(unsigned u) { return soft_bits<float>(u); }
static inline float __int_as_float(int i) { return soft_bits<float>(i); }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned long long)a * b >> 32; }
static inline int __mulhi(int a, int b) { return (long long)a * b >> 32; }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) { return (unsigned __int128)a * b >> 64; }
static inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) { n &= 31; return n ? hi << n | lo >> (32 - n) : hi; }
static inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) { n &= 31; return n ? lo >> n | hi << (32 - n) : lo; }

// ---- arithmetic ----

#define SOFT_MIN_MAX(T) \
	static inline T min(T a, T b) { return b < a ? b : a; } \
	static inline T max(T a, T b) { return a < b ? b : a; }
SOFT_MIN_MAX(int)
SOFT_MIN_MAX(unsigned)
SOFT_MIN_MAX(long long)
SOFT_MIN_MAX(unsigned long long)
SOFT_MIN_MAX(long)
SOFT_MIN_MAX(unsigned long)
static inline float min(float a, float b) { return fminf(a, b); }
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
static inline unsigned min(int a, unsigned b) { return min((unsigned)a, b); }
static inline unsigned min(unsigned a, int b) { return min(a, (unsigned)b); }
static inline unsigned max(int a, unsigned b) { return max((unsigned)a, b); }
static inline unsigned max(unsigned a, int b) { return max(a, (unsigned)b); }
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline double rsqrt(double x) { return 1 / sqrt(x); }
// Under other names: those are the C library's own, too.
#define __expf soft_expf
#define __exp10f soft_exp10f
#define __logf soft_logf
#define __log2f soft_log2f
#define __sinf soft_sinf
#define __cosf soft_cosf
#define __powf soft_powf
#define __sincosf soft_sincosf
static inline float soft_expf(float x) { return expf(x); }
static inline float soft_exp10f(float x) { return exp10f(x); }
static inline float soft_logf(float x) { return logf(x); }
static inline float soft_log2f(float x) { return log2f(x); }
static inline float soft_sinf(float x) { return sinf(x); }
static inline float soft_cosf(float x) { return cosf(x); }
static inline void soft_sincosf(float x, float *s, float *c) { *s = sinf(x), *c = cosf(x); }
static inline float soft_powf(float x, float y) { return powf(x, y); }
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __fdiv_rn(float x, float y) { return x / y; }
static inline float __frcp_rn(float x) { return 1 / x; }
static inline float __frsqrt_rn(float x) { return 1 / sqrtf(x); }
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline float __fadd_rn(float x, float y) { return x + y; }
static inline float __fsub_rn(float x, float y) { return x - y; }
static inline float __fmul_rn(float x, float y) { volatile float p = x * y; return p; }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline float __saturatef(float x) { return fminf(fmaxf(x, 0), 1); }
static inline int __float2int_rn(float x) { return (int)nearbyintf(x); }
static inline int __float2int_rz(float x) { return (int)x; }
static inline int __float2int_rd(float x) { return (int)floorf(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned x) { return (float)x; }

template <class T> static inline T __ldg(const T *p) { return *p; }
template <class T> static inline T __ldcs(const T *p) { return *p; }
template <class T> static inline T __ldcg(const T *p) { return *p; }
template <class T> static inline T __ldca(const T *p) { return *p; }
template <class T> static inline void __stcs(T *p, T v) { *p = v; }
template <class T> static inline void __stcg(T *p, T v) { *p = v; }

// ---- threads ----

static inline void __syncthreads() { soft_block->barrier(); }
static inline void __threadfence() {}
static inline void __threadfence_block() {}
[[noreturn]] static inline void __trap() {
	soft_block->fail("__trap", nullptr, 0);
	__builtin_unreachable();
}
static inline long long clock64() { return 0; }

// One operation at a time: no other thread runs.
template <class T, class F> static inline T soft_atomic(T *p, F f) {
	T old = *p;
	*p = f(old);
	return old;
}
template <class T> static inline T atomicAdd(T *p, std::common_type_t<T> v) { return soft_atomic(p, [=](T x) { return x + v; }); }
template <class T> static inline T atomicSub(T *p, std::common_type_t<T> v) { return soft_atomic(p, [=](T x) { return x - v; }); }
template <class T> static inline T atomicMax(T *p, std::common_type_t<T> v) { return soft_atomic(p, [=](T x) { return x < v ? v : x; }); }
template <class T> static inline T atomicMin(T *p, std::common_type_t<T> v) { return soft_atomic(p, [=](T x) { return v < x ? v : x; }); }
template <class T> static inline T atomicExch(T *p, std::common_type_t<T> v) { return soft_atomic(p, [=](T) { return v; }); }
template <class T> static inline T atomicOr(T *p, std::common_type_t<T> v) { return soft_atomic(p, [=](T x) { return x | v; }); }
template <class T> static inline T atomicAnd(T *p, std::common_type_t<T> v) { return soft_atomic(p, [=](T x) { return x & v; }); }
template <class T> static inline T atomicCAS(T *p, std::common_type_t<T> seen, std::common_type_t<T> v) {
	return soft_atomic(p, [=](T x) { return x == seen ? v : x; });
}

static inline void __syncwarp(unsigned mask = ~0u) {
	uint32_t present;
	soft_block->exchange(mask, 0, &present);
}
static inline unsigned __activemask() { soft_block->fail("__activemask is not a mask to go by", nullptr, 0); return 0; }
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
	uint32_t present;
	const uint64_t *v = soft_block->exchange(mask, predicate != 0, &present);
	unsigned r = 0;
	for (int i = 0; i < 32; i++)
		if (present >> i & 1 && v[i]) r |= 1u << i;
	return r;
}
static inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }

template <class T> static inline T soft_shuffle(unsigned mask, T value, unsigned from, bool inside) {
	static_assert(sizeof(T) <= 8);
	uint64_t word = 0;
	memcpy(&word, &value, sizeof value);
	uint32_t present;
	const uint64_t *v = soft_block->exchange(mask, word, &present);
	if (inside) memcpy(&value, &v[from], sizeof value);
	return value;
}
// As PTX defines shfl: a lane outside of the segment gives the caller its own value.
template <class T> static inline T __shfl_sync(unsigned mask, T v, int from, int width = 32) {
	unsigned lane = soft_block->self->lane, segment = 32 - width;
	return soft_shuffle(mask, v, (lane & segment) | (from & ~segment & 31), true);
}
template <class T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) {
	unsigned lane = soft_block->self->lane, first = lane & (32 - width);
	return soft_shuffle(mask, v, lane - by, lane >= first + by);
}
template <class T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) {
	unsigned lane = soft_block->self->lane, last = lane | (width - 1);
	return soft_shuffle(mask, v, lane + by, lane + by <= last);
}
template <class T> static inline T __shfl_xor_sync(unsigned mask, T v, int by, int width = 32) {
	unsigned lane = soft_block->self->lane, last = lane | (width - 1), from = (lane ^ by) & 31;
	return soft_shuffle(mask, v, from, from <= last);
}

// ---- what the checks that the compiler puts in call ----

struct SoftPlace {
	const char *file;
	unsigned line, column;
};
extern "C" {
#define SOFT_HANDLER(name, what, ...) \
	__attribute__((visibility("hidden"), used)) void __ubsan_handle_##name##_abort(SoftPlace *at, __VA_ARGS__) { soft_block->fail(what, at->file, at->line); }
SOFT_HANDLER(out_of_bounds, "an index is outside of its array", void *)
SOFT_HANDLER(type_mismatch_v1, "an address is not aligned to what it holds", void *)
SOFT_HANDLER(divrem_overflow, "division by zero", void *, void *)
SOFT_HANDLER(shift_out_of_bounds, "a shift by more bits than there are", void *, void *)
}

// ---- how a kernel is called ----

template <class... P, size_t... I> static inline void soft_call(void (*f)(P...), void **p, std::index_sequence<I...>) {
	(void)p;
	f(*(std::remove_reference_t<std::remove_cv_t<P>> *)p[I]...);
}
template <class... P> static inline void soft_invoke(void (*f)(P...), void **p) { soft_call(f, p, std::index_sequence_for<P...>()); }
template <auto F> struct SoftKernel;
template <class... P, void (*F)(P...)> struct SoftKernel<F> {
	static void call(void **p) { soft_invoke(F, p); }
	static constexpr unsigned sizes[sizeof...(P) + 1] = {sizeof(P)..., 0};
	static constexpr unsigned parameters = sizeof...(P);
};
