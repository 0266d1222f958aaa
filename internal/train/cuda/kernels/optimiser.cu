// The optimiser and the copies of the weights that the products read.

// squares writes each block's sum of squares of its part of x to out, in blocks
// of 256 threads whose number does not change.
extern "C" __global__ void __launch_bounds__(256) squares(const float* x, double* out, long long n) {
	__shared__ double shared[256];
	double sum = 0;
	for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (long long)gridDim.x * blockDim.x) sum += (double)x[i] * x[i];
	sum = blocksum(sum, shared);
	if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

// root writes the square root of the sum of n values to out, in one block of 256 threads.
extern "C" __global__ void __launch_bounds__(256) root(const double* x, float* out, int n) {
	__shared__ double shared[256];
	double sum = 0;
	for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
	sum = blocksum(sum, shared);
	if (threadIdx.x == 0) out[0] = (float)sqrt(sum);
}

// adamw applies the gradient times clip; size is the corrected rate, correct
// the second moment's correction.
extern "C" __global__ void adamw(float* values, const float* grad, float* first, float* second, float clip, float size, float correct, float beta1, float beta2, float epsilon, long long n) {
	long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
	if (i >= n) return;
	float x = grad[i] * clip;
	float m = beta1 * first[i] + (1 - beta1) * x, v = beta2 * second[i] + (1 - beta2) * x * x;
	first[i] = m;
	second[i] = v;
	values[i] -= size * m / (sqrtf(v * correct) + epsilon);
}

// lay copies matrices to bf16, a job a row of the grid: five numbers of 64 bits,
// the source, its columns (a multiple of 8), its rows, the target, and the
// values from one of its rows to the next.
template <class T> __device__ __forceinline__ void lay(const unsigned long long* jobs) {
	const unsigned long long* job = jobs + 5 * blockIdx.y;
	const T* from = (const T*)job[0];
	bf* to = (bf*)job[3];
	long long wide = job[1] / 8, count = wide * job[2], ld = job[4];
	for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (long long)gridDim.x * blockDim.x) {
		float v[8];
		load8(v, from + i * 8);
		store8(to + i / wide * ld + i % wide * 8, v);
	}
}

// The source is floats, or bf16 already.
extern "C" __global__ void lay_floats(const unsigned long long* jobs) { lay<float>(jobs); }
extern "C" __global__ void lay_bf16(const unsigned long long* jobs) { lay<bf>(jobs); }
