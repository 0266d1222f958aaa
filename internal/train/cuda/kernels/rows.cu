// Kernels that go over the rows of activations: one warp a row of DIM values,
// or one thread eight values.
#define NV ((DIM + 255) / 256)

// EACH runs its statements for the lane's vectors of eight at columns `at`.
#define EACH(...) \
	_Pragma("unroll") for (int v = 0; v < NV; v++) { \
		int at = (v * 32 + lane) * 8; \
		if (at < DIM) { __VA_ARGS__ } \
	}

// embed copies the tokens' rows of the table (VOCAB x DIM) to x.
extern "C" __global__ void embed(const int* tokens, const float* table, float* x, int n) {
	int i = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
	if (i >= n) return;
	const float* from = table + (size_t)tokens[i] * DIM;
	EACH(float r[8]; load8(r, from + at); store8(x + (size_t)i * DIM + at, r);)
}

// add_norm writes x + y (y null: x) to sum, unless that is null, and the
// RMSNorm of it times gain to out (rows of ldo), unless that is null.
extern "C" __global__ void add_norm(const float* x, const bf* y, float* sum, const float* gain, bf* out, int ldo, int n) {
	int i = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
	if (i >= n) return;
	size_t row = (size_t)i * DIM;
	float r[NV][8], squares = 0;
	EACH(load8(r[v], x + row + at);
		if (y) {
			float z[8];
			load8(z, y + row + at);
			for (int j = 0; j < 8; j++) r[v][j] += z[j];
		}
		if (sum) store8(sum + row + at, r[v]);
		for (int j = 0; j < 8; j++) squares += r[v][j] * r[v][j];)
	if (!out) return;
	float f = rsqrtf(warpsum(squares) / DIM + EPS);
	EACH(float g[8]; load8(g, gain + at);
		for (int j = 0; j < 8; j++) g[j] *= r[v][j] * f;
		store8(out + (size_t)i * ldo + at, g);)
}

// pick_norm writes the RMSNorm of the named rows of x, times gain, to out (n x DIM).
extern "C" __global__ void pick_norm(const float* x, const int* rows, const float* gain, bf* out, int n) {
	int i = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
	if (i >= n) return;
	const float* from = x + (size_t)rows[i] * DIM;
	float r[NV][8], squares = 0;
	EACH(load8(r[v], from + at);
		for (int j = 0; j < 8; j++) squares += r[v][j] * r[v][j];)
	float f = rsqrtf(warpsum(squares) / DIM + EPS);
	EACH(float g[8]; load8(g, gain + at);
		for (int j = 0; j < 8; j++) g[j] *= r[v][j] * f;
		store8(out + (size_t)i * DIM + at, g);)
}

// The reverse of y = gain x r, r = 1/sqrt(mean x^2 + EPS), for the gradient dy:
// with t = gain dy, dx = r t - x (t.x) r^3/DIM. The residual's gradient dr gains
// it; what it is then goes to out (rows of ldo) as well.
extern "C" __global__ void norm_grad(const float* x, const bf* dy, const float* gain, float* dr, bf* out, int ldo, int n) {
	int i = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
	if (i >= n) return;
	size_t row = (size_t)i * DIM;
	float r[NV][8], t[NV][8], squares = 0, dot = 0;
	EACH(float g[8]; load8(g, gain + at);
		load8(r[v], x + row + at);
		load8(t[v], dy + row + at);
		for (int j = 0; j < 8; j++) {
			t[v][j] *= g[j];
			squares += r[v][j] * r[v][j];
			dot += r[v][j] * t[v][j];
		})
	float f = rsqrtf(warpsum(squares) / DIM + EPS);
	float s = warpsum(dot) * f * f * f / DIM;
	EACH(float d[8]; load8(d, dr + row + at);
		for (int j = 0; j < 8; j++) d[j] += f * t[v][j] - s * r[v][j];
		store8(dr + row + at, d);
		store8(out + (size_t)i * ldo + at, d);)
}

// head_grad begins the residual's gradient: the reverse of pick_norm at the
// tokens whose place among the picked rows is in place, zero at the others (-1).
extern "C" __global__ void head_grad(const float* x, const int* place, const float* dy, const float* gain, float* dr, bf* out, int ldo, int n) {
	int i = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
	if (i >= n) return;
	size_t row = (size_t)i * DIM;
	int at_row = place[i];
	float r[NV][8], t[NV][8], squares = 0, dot = 0, f = 0, s = 0;
	if (at_row >= 0) {
		EACH(float g[8]; load8(g, gain + at);
			load8(r[v], x + row + at);
			load8(t[v], dy + (size_t)at_row * DIM + at);
			for (int j = 0; j < 8; j++) {
				t[v][j] *= g[j];
				squares += r[v][j] * r[v][j];
				dot += r[v][j] * t[v][j];
			})
		f = rsqrtf(warpsum(squares) / DIM + EPS);
		s = warpsum(dot) * f * f * f / DIM;
	}
	EACH(float d[8];
		for (int j = 0; j < 8; j++) d[j] = at_row < 0 ? 0 : f * t[v][j] - s * r[v][j];
		store8(dr + row + at, d);
		store8(out + (size_t)i * ldo + at, d);)
}

// weigh multiplies z (n rows of ld, `columns` wide) by the weights of each
// token's tree, one a stacked row (rank, a multiple of 8), again for each kind.
extern "C" __global__ void weigh(bf* z, int ld, int columns, int rank, const int* tree, const float* weights, int n) {
	int k = blockIdx.x * blockDim.x + threadIdx.x, wide = columns / 8;
	if (k >= n * wide) return;
	int i = k / wide, c = (k - i * wide) * 8;
	float x[8], w[8];
	bf* at = z + (size_t)i * ld + c;
	load8(x, at);
	load8(w, weights + (size_t)tree[i] * rank + c % rank);
	for (int j = 0; j < 8; j++) x[j] *= w[j];
	store8(at, x);
}

// rotate adds the bias (null: none) to q, k, v (n x QKV) and turns q and k by
// each token's position. One thread has 16 values of a head.
extern "C" __global__ void rotate(bf* qkv, const float* bias, const int* position, const float* cos, const float* sin, int n) {
	int k = blockIdx.x * blockDim.x + threadIdx.x;
	const int wide = QKV / 16, per = HD / 16;
	if (k >= n * wide) return;
	int i = k / wide, c = k - i * wide, head = c / per, part = c % per;
	bool turn = head < HEADS + KV;
	if (!turn && !bias) return;
	int first = head * HD + (HALVES ? part * 8 : part * 16), second = first + (HALVES ? HD / 2 : 8);
	bf* row = qkv + (size_t)i * QKV;
	float x[8], y[8], b[8];
	load8(x, row + first);
	load8(y, row + second);
	if (bias) {
		load8(b, bias + first);
		for (int j = 0; j < 8; j++) x[j] += b[j];
		load8(b, bias + second);
		for (int j = 0; j < 8; j++) y[j] += b[j];
	}
	if (turn) {
		float co[8], si[8];
		size_t at = (size_t)position[i] * (HD / 2) + part * 8;
		load8(co, cos + at);
		load8(si, sin + at);
		if (HALVES) {
			for (int j = 0; j < 8; j++) {
				float a = x[j], c = y[j];
				x[j] = a * co[j] - c * si[j];
				y[j] = a * si[j] + c * co[j];
			}
		} else {
			for (int j = 0; j < 4; j++) {
				float a = x[2 * j], c = x[2 * j + 1];
				x[2 * j] = a * co[j] - c * si[j];
				x[2 * j + 1] = a * si[j] + c * co[j];
				a = y[2 * j], c = y[2 * j + 1];
				y[2 * j] = a * co[4 + j] - c * si[4 + j];
				y[2 * j + 1] = a * si[4 + j] + c * co[4 + j];
			}
		}
	}
	store8(row + first, x);
	store8(row + second, y);
}

// activate writes silu(gate) * up of rows gate, up (n x 2 FF) to out (rows of ldo).
extern "C" __global__ void activate(const bf* gu, bf* out, int ldo, int n) {
	int k = blockIdx.x * blockDim.x + threadIdx.x;
	const int wide = FF / 8;
	if (k >= n * wide) return;
	int i = k / wide, c = (k - i * wide) * 8;
	float g[8], u[8];
	load8(g, gu + (size_t)i * 2 * FF + c);
	load8(u, gu + (size_t)i * 2 * FF + FF + c);
	for (int j = 0; j < 8; j++) g[j] = g[j] / (1 + fastexp(-g[j])) * u[j];
	store8(out + (size_t)i * ldo + c, g);
}

// activate_grad writes the gradients of gate and up to out (rows of ldo) for
// that of activate's values, dy (n x FF).
extern "C" __global__ void activate_grad(const bf* gu, const bf* dy, bf* out, int ldo, int n) {
	int k = blockIdx.x * blockDim.x + threadIdx.x;
	const int wide = FF / 8;
	if (k >= n * wide) return;
	int i = k / wide, c = (k - i * wide) * 8;
	float g[8], u[8], d[8];
	load8(g, gu + (size_t)i * 2 * FF + c);
	load8(u, gu + (size_t)i * 2 * FF + FF + c);
	load8(d, dy + (size_t)i * FF + c);
	for (int j = 0; j < 8; j++) {
		float s = 1 / (1 + fastexp(-g[j])), silu = g[j] * s;
		g[j] = d[j] * u[j] * (s + silu * (1 - s));
		u[j] = d[j] * silu;
	}
	store8(out + (size_t)i * ldo + c, g);
	store8(out + (size_t)i * ldo + FF + c, u);
}

// mean_rows writes the mean of the rows [first, first+count) of x a text to out
// (texts x DIM); with a gain, of their RMSNorms.
extern "C" __global__ void mean_rows(const float* x, const int* first, const int* count, const float* gain, float* out, int texts) {
	int i = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32, lane = threadIdx.x & 31;
	if (i >= texts) return;
	float sum[NV][8], r[NV][8];
	EACH(for (int j = 0; j < 8; j++) sum[v][j] = 0;)
	int n = count[i];
	for (int k = 0; k < n; k++) {
		const float* row = x + (size_t)(first[i] + k) * DIM;
		float squares = 0, f = 1.0f / n;
		EACH(load8(r[v], row + at);
			for (int j = 0; j < 8; j++) squares += r[v][j] * r[v][j];)
		if (gain) f *= rsqrtf(warpsum(squares) / DIM + EPS);
		EACH(for (int j = 0; j < 8; j++) sum[v][j] += f * r[v][j];)
	}
	EACH(if (gain) {
			float g[8];
			load8(g, gain + at);
			for (int j = 0; j < 8; j++) sum[v][j] *= g[j];
		}
		store8(out + (size_t)i * DIM + at, sum[v]);)
}
