// libcublas: products by plain loops, in float, in an order that does not
// depend on the shape of the whole.
#include "soft.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

namespace {

enum { OK = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum { F32 = 0, BF16 = 14, COMPUTE_32F = 68, COMPUTE_TF32 = 77 };

struct Handle {
	void *stream = nullptr;
};

struct Product {
	bool ta, tb;
	int m, n, k, type, ctype, lda, ldb, ldc, batch;
	long long sa, sb, sc;
	float alpha, beta;
	const void *a, *b;
	void *c;
	bool tf32;
};

size_t width(int type) { return type == BF16 ? 2 : 4; }

float load(const void *p, size_t i, int type) {
	if (type == BF16) {
		uint32_t u = (uint32_t)((const uint16_t *)p)[i] << 16;
		float f;
		memcpy(&f, &u, 4);
		return f;
	}
	return ((const float *)p)[i];
}

void store(void *p, size_t i, int type, float f) {
	if (type == F32) {
		((float *)p)[i] = f;
		return;
	}
	uint32_t u;
	memcpy(&u, &f, 4);
	((uint16_t *)p)[i] = f != f ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}

float tf32(float f) { // 10 bits of mantissa, to the nearest
	uint32_t u;
	memcpy(&u, &f, 4);
	u = (u + 0xfff + (u >> 13 & 1)) & ~0x1fffu;
	memcpy(&f, &u, 4);
	return f;
}

// The extent in values of a matrix stored by column.
size_t extent(int rows, int columns, int ld) { return rows && columns ? (size_t)(columns - 1) * ld + rows : 0; }

typedef float Lanes __attribute__((vector_size(32)));

#if defined(__x86_64__)
__attribute__((target_clones("avx2", "default")))
#endif
void multiply(const float *a, const float *b, float *c, int m, int n, int k8) {
	for (int j = 0; j < n; j++)
		for (int i = 0; i < m; i++) {
			Lanes sum = {};
			auto *x = (const Lanes *)(a + (size_t)i * k8), *y = (const Lanes *)(b + (size_t)j * k8);
			for (int l = 0; l < k8 / 8; l++) sum += x[l] * y[l];
			c[(size_t)j * m + i] = ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
		}
}

// Zeros, aligned to the lanes.
struct Buffer {
	std::vector<float> values;
	float *reset(size_t n) {
		values.assign(n + 8, 0);
		return (float *)(((uintptr_t)values.data() + 31) & ~(uintptr_t)31);
	}
};

bool inside(const void *p, long long stride, int batch, size_t values, int type) {
	if (!values) return true;
	if (stride < 0) return false;
	return soft_check(p, ((size_t)(batch - 1) * stride + values) * width(type));
}

int run(void *data, char *why) {
	auto &p = *(Product *)data;
	size_t ea = extent(p.ta ? p.k : p.m, p.ta ? p.m : p.k, p.lda), eb = extent(p.tb ? p.n : p.k, p.tb ? p.k : p.n, p.ldb), ec = extent(p.m, p.n, p.ldc);
	if (!inside(p.a, p.sa, p.batch, ea, p.type) || !inside(p.b, p.sb, p.batch, eb, p.type) || !inside(p.c, p.sc, p.batch, ec, p.ctype)) {
		snprintf(why, 256, "cuBLAS: a matrix of the product %d x %d x %d reaches out of its allocation", p.m, p.n, p.k);
		return 700;
	}
	static thread_local Buffer as, bs, cs;
	int k8 = (p.k + 7) / 8 * 8;
	for (int t = 0; t < p.batch; t++) {
		auto *a = (const char *)p.a + t * p.sa * width(p.type), *b = (const char *)p.b + t * p.sb * width(p.type);
		auto *c = (char *)p.c + t * p.sc * width(p.ctype);
		float *x = as.reset((size_t)p.m * k8), *y = bs.reset((size_t)p.n * k8), *z = cs.reset((size_t)p.m * p.n);
		for (int i = 0; i < p.m; i++)
			for (int l = 0; l < p.k; l++) x[(size_t)i * k8 + l] = load(a, p.ta ? (size_t)i * p.lda + l : (size_t)l * p.lda + i, p.type);
		for (int j = 0; j < p.n; j++)
			for (int l = 0; l < p.k; l++) y[(size_t)j * k8 + l] = load(b, p.tb ? (size_t)l * p.ldb + j : (size_t)j * p.ldb + l, p.type);
		if (p.tf32) {
			for (size_t i = 0; i < (size_t)p.m * k8; i++) x[i] = tf32(x[i]);
			for (size_t i = 0; i < (size_t)p.n * k8; i++) y[i] = tf32(y[i]);
		}
		multiply(x, y, z, p.m, p.n, k8);
		for (int j = 0; j < p.n; j++)
			for (int i = 0; i < p.m; i++) {
				size_t at = (size_t)j * p.ldc + i;
				float v = p.alpha * z[(size_t)j * p.m + i];
				if (p.beta != 0) v += p.beta * load(c, at, p.ctype);
				store(c, at, p.ctype, v);
			}
	}
	return 0;
}

int gemm(void *handle, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int at, int lda, long long sa,
	const void *b, int bt, int ldb, long long sb, const void *beta, void *c, int ct, int ldc, long long sc, int batch, int compute) {
	if (!handle) return NOT_INITIALIZED;
	bool types = at == bt && (at == BF16 || at == F32) && (ct == at || ct == F32);
	if (!types || (compute != COMPUTE_32F && compute != COMPUTE_TF32)) return NOT_SUPPORTED;
	auto most = [](int a, int b) { return a > b ? a : b; };
	if (m < 0 || n < 0 || k < 0 || batch < 0 || lda < most(1, ta ? k : m) || ldb < most(1, tb ? n : k) || ldc < most(1, m)) return INVALID_VALUE;
	if (ta < 0 || ta > 1 || tb < 0 || tb > 1) return INVALID_VALUE;
	Product p{ta == 1, tb == 1, m, n, k, at, ct, lda, ldb, ldc, batch, sa, sb, sc, *(const float *)alpha, *(const float *)beta, a, b, c,
		compute == COMPUTE_TF32 && at == F32};
	return soft_enqueue(((Handle *)handle)->stream, run, &p, sizeof p) ? 13 : OK;
}

} // namespace

extern "C" {

const char *cublasGetStatusString(int status) {
	switch (status) {
	case OK: return "the operation completed successfully";
	case NOT_INITIALIZED: return "the library was not initialized";
	case INVALID_VALUE: return "an unsupported value or parameter was passed to the function";
	case 13: return "the GPU program failed to execute";
	case NOT_SUPPORTED: return "the requested functionality is not supported";
	}
	return "unknown cuBLAS status";
}
int cublasCreate_v2(void **handle) {
	*handle = new Handle;
	return OK;
}
int cublasDestroy_v2(void *handle) {
	delete (Handle *)handle;
	return OK;
}
int cublasSetStream_v2(void *handle, void *stream) {
	((Handle *)handle)->stream = stream;
	return OK;
}
int cublasSetWorkspace_v2(void *, void *p, size_t bytes) { return soft_check(p, bytes) ? OK : INVALID_VALUE; }

int cublasGemmEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int at, int lda,
	const void *b, int bt, int ldb, const void *beta, void *c, int ct, int ldc, int compute, int) {
	return gemm(h, ta, tb, m, n, k, alpha, a, at, lda, 0, b, bt, ldb, 0, beta, c, ct, ldc, 0, 1, compute);
}
int cublasGemmStridedBatchedEx(void *h, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int at, int lda, long long sa,
	const void *b, int bt, int ldb, long long sb, const void *beta, void *c, int ct, int ldc, long long sc, int batch, int compute, int) {
	return gemm(h, ta, tb, m, n, k, alpha, a, at, lda, sa, b, bt, ldb, sb, beta, c, ct, ldc, sc, batch, compute);
}

} // extern "C"
