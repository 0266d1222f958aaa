// Log-probabilities and the loss. A row is a position that predicts; a target
// one predicted token: its row, id and answer. Targets lie answer by answer.

// row_lse writes the log of the sum of exponentials of each row of logits (n x
// VOCAB, rows of ld) to lse, a block a row.
extern "C" __global__ void __launch_bounds__(256) row_lse(const float* logits, int ld, float* lse) {
	__shared__ float tops[256], sums[256];
	const float* row = logits + (size_t)blockIdx.x * ld;
	float top = -1e30f, sum = 0;
	for (int c = threadIdx.x * 4; c < VOCAB; c += blockDim.x * 4) {
		float x[4];
		if (c + 4 <= VOCAB) {
			float4 v = *(const float4*)(row + c);
			x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
		} else
			for (int j = 0; j < 4; j++) x[j] = c + j < VOCAB ? row[c + j] : -1e30f;
		float high = fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3]));
		if (high > top) {
			sum *= fastexp(top - high);
			top = high;
		}
		for (int j = 0; j < 4; j++) sum += fastexp(x[j] - top);
	}
	tops[threadIdx.x] = top;
	sums[threadIdx.x] = sum;
	__syncthreads();
	for (int i = blockDim.x / 2; i > 0; i >>= 1) {
		if (threadIdx.x < i) {
			float a = tops[threadIdx.x], b = tops[threadIdx.x + i], high = fmaxf(a, b);
			sums[threadIdx.x] = sums[threadIdx.x] * fastexp(a - high) + sums[threadIdx.x + i] * fastexp(b - high);
			tops[threadIdx.x] = high;
		}
		__syncthreads();
	}
	if (threadIdx.x == 0) lse[blockIdx.x] = tops[0] + logf(sums[0]);
}

// target_logprob writes each target's log-probability; rows count from `first`
// of the logits that are here.
extern "C" __global__ void target_logprob(const float* logits, int ld, const float* lse, const int* row, const int* id, int first, float* out, int n) {
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i >= n) return;
	int r = row[i] - first;
	out[i] = logits[(size_t)r * ld + id[i]] - lse[r];
}

// losses has one thread an example: of its answers [answers[i], answers[i+1])
// and their targets [targets[a], targets[a+1]) the loss, its slope for each
// target's log-probability (one an answer), and whether the right answer, the
// first, scored highest. out has three doubles an example: loss, ranked, right.
extern "C" __global__ void losses(const int* answers, const int* targets, const float* logprob, double* scores, float* slopes, double* out,
	int ranking, float scale, float lm, float share, int n) {
	int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i >= n) return;
	int a0 = answers[i], a1 = answers[i + 1], best = a0;
	for (int a = a0; a < a1; a++) {
		double s = 0;
		for (int k = targets[a]; k < targets[a + 1]; k++) s += logprob[k];
		scores[a] = s / (targets[a + 1] - targets[a]);
		if (scores[a] > scores[best]) best = a;
	}
	double loss = -scores[a0], top = scores[best], sum = 0;
	if (ranking) {
		for (int a = a0; a < a1; a++) sum += exp(scale * (scores[a] - top));
		loss = log(sum) - scale * (scores[a0] - top) - lm * scores[a0];
	}
	for (int a = a0; a < a1; a++) {
		double slope = ranking ? scale * exp(scale * (scores[a] - top)) / sum : 0;
		if (a == a0) slope -= ranking ? scale + lm : 1;
		slopes[a] = (float)(slope * share / (targets[a + 1] - targets[a]));
	}
	out[3 * i] = loss * share;
	out[3 * i + 1] = a1 - a0 > 1;
	out[3 * i + 2] = a1 - a0 > 1 && best == a0;
}

// tally adds the examples' three numbers to sum, in one block of 256 threads.
extern "C" __global__ void __launch_bounds__(256) tally(const double* out, float* sum, int n) {
	__shared__ double shared[256];
	for (int j = 0; j < 3; j++) {
		double x = 0;
		for (int i = threadIdx.x; i < n; i += blockDim.x) x += out[3 * i + j];
		x = blocksum(x, shared);
		if (threadIdx.x == 0) sum[j] += (float)x;
	}
}

// logit_grad writes the gradient of the logits (rows of ld), a block a row: the
// row's targets are list[rows[r]] to list[rows[r+1]], numbers of targets.
extern "C" __global__ void __launch_bounds__(256) logit_grad(const float* logits, int ld, const float* lse, const int* rows, const int* list, const int* id, const int* answer,
	const float* slopes, int first, bf* out) {
	int r = first + blockIdx.x, from = rows[r], to = rows[r + 1];
	float sum = 0;
	for (int k = from; k < to; k++) sum += slopes[answer[list[k]]];
	const float* x = logits + (size_t)blockIdx.x * ld;
	bf* y = out + (size_t)blockIdx.x * ld;
	float norm = lse[blockIdx.x];
	for (int c = threadIdx.x * 8; c < VOCAB; c += blockDim.x * 8) {
		float v[8];
		load8(v, x + c); // past VOCAB, up to ld, what lies there does no harm
		for (int j = 0; j < 8; j++) v[j] = -sum * fastexp(v[j] - norm);
		store8(y + c, v);
	}
	__syncthreads();
	for (int k = from + threadIdx.x; k < to; k += blockDim.x) {
		int token = id[list[k]];
		float v = -sum * fastexp(x[token] - norm);
		for (int j = from; j < to; j++)
			if (id[list[j]] == token) v += slopes[answer[list[j]]];
		y[token] = (bf)(pack(v, 0) & 0xffff);
	}
}
