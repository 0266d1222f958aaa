// Attention over trees. A token i sees, of the tokens from its tree's first on,
// those before shared[i] (a branch's prompt) and those from own[i] to itself.
// The query heads of a key head go together: row r of a tile of tokens is token
// r/REP, head r%REP. A tile is four ints: its first token, how many it has, and
// the tree's first token and end. A block is a tile and a key head, four warps
// of sixteen rows each.
#define WIDE (HD + 8) /* of a row in shared memory: no two lanes meet in a bank */
#define STEPS (HD / 16)
#define SCALE rsqrtf((float)HD)
#define KEYS 64 /* keys in shared memory at a time */
#define QUERIES 32 /* rows of queries in shared memory at a time */

__device__ __forceinline__ u32 pair(const bf* p) { return *(const u32*)p; }

// below is column c of two rows that follow each other.
__device__ __forceinline__ u32 below(const bf* p) { return (u32)p[0] | (u32)p[WIDE] << 16; }

// fragments reads a warp's sixteen rows of HD values as mma's a: p0 is row g,
// p1 row g+8.
__device__ __forceinline__ void fragments(u32 (*a)[4], const bf* p0, const bf* p1, int t) {
	#pragma unroll
	for (int k = 0; k < STEPS; k++) {
		a[k][0] = pair(p0 + k * 16 + 2 * t), a[k][1] = pair(p1 + k * 16 + 2 * t);
		a[k][2] = pair(p0 + k * 16 + 8 + 2 * t), a[k][3] = pair(p1 + k * 16 + 8 + 2 * t);
	}
}

// stage copies n rows (of HD values, ld apart) to shared memory, and zeros to
// the rest of `rows`.
__device__ __forceinline__ void stage(bf* to, const bf* from, size_t ld, int n, int rows) {
	for (int i = threadIdx.x; i < rows * (HD / 8); i += blockDim.x) {
		int r = i / (HD / 8), c = i % (HD / 8) * 8;
		uint4 v;
		v.x = v.y = v.z = v.w = 0;
		if (r < n) v = *(const uint4*)(from + r * ld + c);
		*(uint4*)(to + r * WIDE + c) = v;
	}
}

// attend writes the attention of q, k, v (n x QKV) to o (rows of ldo, QD wide)
// and the log of each sum of exponentials to lse (n x HEADS).
extern "C" __global__ void __launch_bounds__(128) attend(const bf* qkv, const int* tiles, const int* shared, const int* own, bf* o, int ldo, float* lse) {
	__shared__ __align__(16) bf sk[KEYS * WIDE];
	__shared__ __align__(16) bf sv[KEYS * WIDE];
	const int* tile = tiles + 4 * blockIdx.x;
	const int first = tile[0], count = tile[1], start = tile[2], kv = blockIdx.y;
	const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, base = threadIdx.x / 32 * 16;
	const int rows = count * REP;
	int token[2], head[2], from[2], upto[2];
	for (int j = 0; j < 2; j++) {
		int r = base + g + 8 * j;
		if (r >= rows) r = 0;
		token[j] = first + r / REP;
		head[j] = kv * REP + r % REP;
		from[j] = own[token[j]];
		upto[j] = shared[token[j]];
	}
	u32 q[STEPS][4];
	fragments(q, qkv + (size_t)token[0] * QKV + head[0] * HD, qkv + (size_t)token[1] * QKV + head[1] * HD, t);
	float acc[HD / 8][4], top[2] = {-1e30f, -1e30f}, sum[2] = {0, 0};
	#pragma unroll
	for (int i = 0; i < HD / 8; i++) acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = 0;

	const int end = first + count;
	for (int at = start; at < end; at += KEYS) {
		int n = min(KEYS, end - at);
		__syncthreads();
		stage(sk, qkv + (size_t)at * QKV + QD + kv * HD, QKV, n, KEYS);
		stage(sv, qkv + (size_t)at * QKV + QD + KD + kv * HD, QKV, n, KEYS);
		__syncthreads();
		if (base >= rows) continue;
		float s[KEYS / 8][4];
		#pragma unroll
		for (int c = 0; c < KEYS / 8; c++) {
			s[c][0] = s[c][1] = s[c][2] = s[c][3] = 0;
			if (c * 8 >= n) continue;
			const bf* key = sk + (c * 8 + g) * WIDE + 2 * t;
			#pragma unroll
			for (int k = 0; k < STEPS; k++) mma(s[c], q[k], pair(key + k * 16), pair(key + k * 16 + 8));
		}
		float high[2] = {top[0], top[1]};
		#pragma unroll
		for (int c = 0; c < KEYS / 8; c++)
			for (int e = 0; e < 4; e++) {
				int j = e / 2, key = at + c * 8 + 2 * t + e % 2;
				bool sees = key < upto[j] || (key >= from[j] && key <= token[j]);
				s[c][e] = sees ? s[c][e] * SCALE : -1e30f;
				high[j] = fmaxf(high[j], s[c][e]);
			}
		for (int j = 0; j < 2; j++) {
			high[j] = fmaxf(high[j], __shfl_xor_sync(ALL, high[j], 1));
			high[j] = fmaxf(high[j], __shfl_xor_sync(ALL, high[j], 2));
			float f = fastexp(top[j] - high[j]);
			top[j] = high[j];
			sum[j] *= f;
			#pragma unroll
			for (int i = 0; i < HD / 8; i++) acc[i][2 * j] *= f, acc[i][2 * j + 1] *= f;
		}
		#pragma unroll
		for (int c = 0; c < KEYS / 8; c++)
			for (int e = 0; e < 4; e++) {
				s[c][e] = s[c][e] > -1e29f ? fastexp(s[c][e] - top[e / 2]) : 0;
				sum[e / 2] += s[c][e];
			}
		#pragma unroll
		for (int k = 0; k < KEYS / 16; k++) {
			if (k * 16 >= n) continue;
			u32 p[4] = {pack(s[2 * k][0], s[2 * k][1]), pack(s[2 * k][2], s[2 * k][3]), pack(s[2 * k + 1][0], s[2 * k + 1][1]), pack(s[2 * k + 1][2], s[2 * k + 1][3])};
			const bf* value = sv + (k * 16 + 2 * t) * WIDE + g;
			#pragma unroll
			for (int i = 0; i < HD / 8; i++) mma(acc[i], p, below(value + i * 8), below(value + 8 * WIDE + i * 8));
		}
	}
	if (base >= rows) return;
	for (int j = 0; j < 2; j++) {
		sum[j] += __shfl_xor_sync(ALL, sum[j], 1);
		sum[j] += __shfl_xor_sync(ALL, sum[j], 2);
		if (base + g + 8 * j >= rows) continue;
		float f = 1 / sum[j];
		bf* to = o + (size_t)token[j] * ldo + head[j] * HD + 2 * t;
		#pragma unroll
		for (int i = 0; i < HD / 8; i++) *(u32*)(to + i * 8) = pack(acc[i][2 * j] * f, acc[i][2 * j + 1] * f);
		if (t == 0) lse[(size_t)token[j] * HEADS + head[j]] = top[j] + logf(sum[j]);
	}
}

// attend_dot writes the dot product of o (rows of ldo) and its gradient dy
// (n x QD) a head to dot (n x HEADS).
extern "C" __global__ void attend_dot(const bf* o, int ldo, const bf* dy, float* dot, int n) {
	int k = blockIdx.x * blockDim.x + threadIdx.x;
	if (k >= n * HEADS) return;
	int i = k / HEADS, h = k - i * HEADS;
	float s = 0;
	for (int c = 0; c < HD; c += 8) {
		float x[8], y[8];
		load8(x, o + (size_t)i * ldo + h * HD + c);
		load8(y, dy + (size_t)i * QD + h * HD + c);
		for (int j = 0; j < 8; j++) s += x[j] * y[j];
	}
	dot[k] = s;
}

// turn_back reverses rotate for two rows of a warp's c, and writes them.
__device__ __forceinline__ void turn_back(float (*acc)[4], int j, bf* to, bool turn, const float* cos, const float* sin, int position, int t) {
	const float* co = cos + (size_t)position * (HD / 2);
	const float* si = sin + (size_t)position * (HD / 2);
	#pragma unroll
	for (int i = 0; i < HD / 8; i++) {
		float* x = &acc[i][2 * j];
		if (turn && !HALVES) {
			int at = i * 4 + t;
			float a = x[0], b = x[1];
			x[0] = a * co[at] + b * si[at];
			x[1] = b * co[at] - a * si[at];
		}
		if (turn && HALVES && i < HD / 16) {
			float* y = &acc[(i + HD / 16) % (HD / 8)][2 * j];
			for (int e = 0; e < 2; e++) {
				int at = i * 8 + 2 * t + e;
				float a = x[e], b = y[e];
				x[e] = a * co[at] + b * si[at];
				y[e] = b * co[at] - a * si[at];
			}
		}
	}
	#pragma unroll
	for (int i = 0; i < HD / 8; i++) *(u32*)(to + i * 8 + 2 * t) = pack(acc[i][2 * j], acc[i][2 * j + 1]);
}

// attend_dq writes the gradient of q, before rotation, to dqkv (rows of ldd) for
// that of the attention's values, dy (n x QD).
extern "C" __global__ void __launch_bounds__(128) attend_dq(const bf* qkv, const bf* dy, const int* tiles, const int* shared, const int* own, const float* lse, const float* dot,
	const int* position, const float* cos, const float* sin, bf* dqkv, int ldd) {
	__shared__ __align__(16) bf sk[KEYS * WIDE];
	__shared__ __align__(16) bf sv[KEYS * WIDE];
	const int* tile = tiles + 4 * blockIdx.x;
	const int first = tile[0], count = tile[1], start = tile[2], kv = blockIdx.y;
	const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, base = threadIdx.x / 32 * 16;
	const int rows = count * REP;
	int token[2], head[2], from[2], upto[2];
	float norm[2], mean[2];
	for (int j = 0; j < 2; j++) {
		int r = base + g + 8 * j;
		if (r >= rows) r = 0;
		token[j] = first + r / REP;
		head[j] = kv * REP + r % REP;
		from[j] = own[token[j]];
		upto[j] = shared[token[j]];
		norm[j] = lse[(size_t)token[j] * HEADS + head[j]];
		mean[j] = dot[(size_t)token[j] * HEADS + head[j]];
	}
	u32 q[STEPS][4], d[STEPS][4];
	fragments(q, qkv + (size_t)token[0] * QKV + head[0] * HD, qkv + (size_t)token[1] * QKV + head[1] * HD, t);
	fragments(d, dy + (size_t)token[0] * QD + head[0] * HD, dy + (size_t)token[1] * QD + head[1] * HD, t);
	float acc[HD / 8][4];
	#pragma unroll
	for (int i = 0; i < HD / 8; i++) acc[i][0] = acc[i][1] = acc[i][2] = acc[i][3] = 0;

	const int end = first + count;
	for (int at = start; at < end; at += KEYS) {
		int n = min(KEYS, end - at);
		__syncthreads();
		stage(sk, qkv + (size_t)at * QKV + QD + kv * HD, QKV, n, KEYS);
		stage(sv, qkv + (size_t)at * QKV + QD + KD + kv * HD, QKV, n, KEYS);
		__syncthreads();
		if (base >= rows) continue;
		#pragma unroll
		for (int k = 0; k < KEYS / 16; k++) {
			if (k * 16 >= n) continue;
			float s[2][4], dp[2][4];
			#pragma unroll
			for (int c = 0; c < 2; c++) {
				s[c][0] = s[c][1] = s[c][2] = s[c][3] = dp[c][0] = dp[c][1] = dp[c][2] = dp[c][3] = 0;
				const bf* key = sk + (k * 16 + c * 8 + g) * WIDE + 2 * t;
				const bf* value = sv + (k * 16 + c * 8 + g) * WIDE + 2 * t;
				#pragma unroll
				for (int i = 0; i < STEPS; i++) {
					mma(s[c], q[i], pair(key + i * 16), pair(key + i * 16 + 8));
					mma(dp[c], d[i], pair(value + i * 16), pair(value + i * 16 + 8));
				}
				for (int e = 0; e < 4; e++) {
					int j = e / 2, at_key = at + k * 16 + c * 8 + 2 * t + e % 2;
					bool sees = at_key < upto[j] || (at_key >= from[j] && at_key <= token[j]);
					float p = sees ? fastexp(s[c][e] * SCALE - norm[j]) : 0;
					s[c][e] = p * (dp[c][e] - mean[j]) * SCALE;
				}
			}
			u32 a[4] = {pack(s[0][0], s[0][1]), pack(s[0][2], s[0][3]), pack(s[1][0], s[1][1]), pack(s[1][2], s[1][3])};
			const bf* key = sk + (k * 16 + 2 * t) * WIDE + g;
			#pragma unroll
			for (int i = 0; i < HD / 8; i++) mma(acc[i], a, below(key + i * 8), below(key + 8 * WIDE + i * 8));
		}
	}
	for (int j = 0; j < 2; j++)
		if (base + g + 8 * j < rows)
			turn_back(acc, j, dqkv + (size_t)token[j] * ldd + head[j] * HD, true, cos, sin, position[token[j]], t);
}

// attend_dkv writes the gradients of k, before rotation, and v to dqkv (rows of
// ldd). A tile is of keys, 64 at most.
extern "C" __global__ void __launch_bounds__(128) attend_dkv(const bf* qkv, const bf* dy, const int* tiles, const int* shared, const int* own, const float* lse, const float* dot,
	const int* position, const float* cos, const float* sin, bf* dqkv, int ldd) {
	__shared__ __align__(16) bf sq[QUERIES * WIDE];
	__shared__ __align__(16) bf sd[QUERIES * WIDE];
	__shared__ float norms[QUERIES], means[QUERIES];
	__shared__ int tokens[QUERIES], uptos[QUERIES], froms[QUERIES];
	const int* tile = tiles + 4 * blockIdx.x;
	const int first = tile[0], count = tile[1], end = tile[3], kv = blockIdx.y;
	const int lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3, base = threadIdx.x / 32 * 16;
	int key[2];
	for (int j = 0; j < 2; j++) key[j] = first + min(base + g + 8 * j, count - 1);
	u32 k[STEPS][4], v[STEPS][4];
	const bf* keys = qkv + QD + kv * HD;
	fragments(k, keys + (size_t)key[0] * QKV, keys + (size_t)key[1] * QKV, t);
	fragments(v, keys + KD + (size_t)key[0] * QKV, keys + KD + (size_t)key[1] * QKV, t);
	float dk[HD / 8][4], dv[HD / 8][4];
	#pragma unroll
	for (int i = 0; i < HD / 8; i++)
		for (int e = 0; e < 4; e++) dk[i][e] = dv[i][e] = 0;

	// Rows of queries from the first key's token on: none before sees a key of the tile.
	const int rows = (end - first) * REP;
	for (int at = 0; at < rows; at += QUERIES) {
		int n = min(QUERIES, rows - at);
		__syncthreads();
		for (int i = threadIdx.x; i < QUERIES * (HD / 8); i += blockDim.x) {
			int r = i / (HD / 8), c = i % (HD / 8) * 8, token = first + (at + r) / REP, h = kv * REP + (at + r) % REP;
			uint4 x, y;
			x.x = x.y = x.z = x.w = 0;
			y = x;
			if (r < n) {
				x = *(const uint4*)(qkv + (size_t)token * QKV + h * HD + c);
				y = *(const uint4*)(dy + (size_t)token * QD + h * HD + c);
			}
			*(uint4*)(sq + r * WIDE + c) = x;
			*(uint4*)(sd + r * WIDE + c) = y;
		}
		for (int r = threadIdx.x; r < QUERIES; r += blockDim.x) {
			int token = first + (at + r) / REP, h = kv * REP + (at + r) % REP;
			bool real = r < n;
			norms[r] = real ? lse[(size_t)token * HEADS + h] : 0;
			means[r] = real ? dot[(size_t)token * HEADS + h] : 0;
			tokens[r] = real ? token : -1; // sees nothing
			uptos[r] = real ? shared[token] : -1;
			froms[r] = real ? own[token] : 0;
		}
		__syncthreads();
		if (base >= count) continue;
		#pragma unroll
		for (int c = 0; c < QUERIES / 16; c++) {
			if (c * 16 >= n) continue;
			float s[2][4], dp[2][4];
			#pragma unroll
			for (int b = 0; b < 2; b++) {
				s[b][0] = s[b][1] = s[b][2] = s[b][3] = dp[b][0] = dp[b][1] = dp[b][2] = dp[b][3] = 0;
				const bf* query = sq + (c * 16 + b * 8 + g) * WIDE + 2 * t;
				const bf* grad = sd + (c * 16 + b * 8 + g) * WIDE + 2 * t;
				#pragma unroll
				for (int i = 0; i < STEPS; i++) {
					mma(s[b], k[i], pair(query + i * 16), pair(query + i * 16 + 8));
					mma(dp[b], v[i], pair(grad + i * 16), pair(grad + i * 16 + 8));
				}
				for (int e = 0; e < 4; e++) {
					int r = c * 16 + b * 8 + 2 * t + e % 2, own_key = key[e / 2];
					bool sees = own_key < uptos[r] || (own_key >= froms[r] && own_key <= tokens[r]);
					float p = sees ? fastexp(s[b][e] * SCALE - norms[r]) : 0;
					s[b][e] = p;
					dp[b][e] = p * (dp[b][e] - means[r]) * SCALE;
				}
			}
			u32 p[4] = {pack(s[0][0], s[0][1]), pack(s[0][2], s[0][3]), pack(s[1][0], s[1][1]), pack(s[1][2], s[1][3])};
			u32 ds[4] = {pack(dp[0][0], dp[0][1]), pack(dp[0][2], dp[0][3]), pack(dp[1][0], dp[1][1]), pack(dp[1][2], dp[1][3])};
			const bf* query = sq + (c * 16 + 2 * t) * WIDE + g;
			const bf* grad = sd + (c * 16 + 2 * t) * WIDE + g;
			#pragma unroll
			for (int i = 0; i < HD / 8; i++) {
				mma(dv[i], p, below(grad + i * 8), below(grad + 8 * WIDE + i * 8));
				mma(dk[i], ds, below(query + i * 8), below(query + 8 * WIDE + i * 8));
			}
		}
	}
	for (int j = 0; j < 2; j++)
		if (base + g + 8 * j < count) {
			bf* row = dqkv + (size_t)key[j] * ldd + QD + kv * HD;
			turn_back(dk, j, row, true, cos, sin, position[key[j]], t);
			turn_back(dv, j, row + KD, false, cos, sin, 0, t);
		}
}
