// libcuda: memory with guards, streams that run when they are waited for,
// recordings, and kernels as fibers.
#include "soft.h"

#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

using namespace soft;

enum {
	OK = 0,
	INVALID_VALUE = 1,
	OUT_OF_MEMORY = 2,
	NOT_INITIALIZED = 3,
	NO_DEVICE = 100,
	INVALID_DEVICE = 101,
	INVALID_IMAGE = 200,
	INVALID_CONTEXT = 201,
	INVALID_HANDLE = 400,
	NOT_FOUND = 500,
	ILLEGAL_ADDRESS = 700,
	LAUNCH_FAILED = 719,
	CAPTURE_UNSUPPORTED = 900,
};

static unsigned long setting(const char *name, unsigned long otherwise) {
	const char *s = getenv(name);
	return s && *s ? strtoul(s, nullptr, 0) : otherwise;
}

// One lock for all calls, but while an operation waits for other ranks.
static std::mutex lock;
static thread_local int held;

struct Hold {
	Hold() {
		if (held++ == 0) lock.lock();
	}
	~Hold() {
		if (--held == 0) lock.unlock();
	}
};
#define LOCK Hold hold

struct LetGo {
	int was = held;
	LetGo() {
		held = 0;
		lock.unlock();
	}
	~LetGo() {
		lock.lock();
		held = was;
	}
};

static bool started;
static int failed;              // as on a GPU, an error of a kernel stays
static std::string detail;      // what failed
static thread_local int device = -1; // the one in use on this thread

static int fail(int status, const std::string &why) {
	if (!failed) failed = status, detail = why;
	return status;
}

#define NEED                                   \
	LOCK;                                      \
	if (!started) return NOT_INITIALIZED;      \
	if (device < 0) return INVALID_CONTEXT;    \
	if (failed) return failed

// ---- memory ----

struct Region {
	size_t bytes;
	unsigned char *map, *map_end; // what can be read: canaries lie between it and the region
	bool pinned;
	int device;
};
static std::map<uintptr_t, Region> regions; // by their first byte
static size_t taken;

static size_t page() {
	static size_t p = sysconf(_SC_PAGESIZE);
	return p;
}

constexpr unsigned char canary = 0xa5;

// place takes memory that ends (up to 15 bytes) where nothing can be touched,
// and begins after such a page as well. Filled with NaNs.
static uintptr_t place(size_t bytes, bool pinned) {
	size_t inner = (bytes + 15 + page() - 1) / page() * page();
	auto *map = (unsigned char *)mmap(nullptr, inner + 2 * page(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED) return 0;
	map += page();
	if (mprotect(map, inner, PROT_READ | PROT_WRITE)) return 0;
	uintptr_t at = ((uintptr_t)map + inner - bytes) & ~(uintptr_t)15;
	Region r{bytes, map, map + inner, pinned, device};
	memset(map, canary, at - (uintptr_t)map);
	memset((void *)(at + bytes), canary, r.map_end - (unsigned char *)(at + bytes));
	if (!pinned && bytes <= (64 << 20)) memset((void *)at, 0xff, bytes);
	regions[at] = r;
	return at;
}

// retire gives the memory back. The address stays taken, so that a late use is found.
static void retire(const Region &r) {
	if (!r.pinned) taken -= r.bytes;
	mmap(r.map, r.map_end - r.map, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
}

static bool intact(uintptr_t at, const Region &r) {
	for (auto *p = r.map; p < (unsigned char *)at; p++)
		if (*p != canary) return false;
	for (auto *p = (unsigned char *)at + r.bytes; p < r.map_end; p++)
		if (*p != canary) return false;
	return true;
}

static const std::pair<const uintptr_t, Region> *region(const void *p, size_t bytes) {
	auto i = regions.upper_bound((uintptr_t)p);
	if (i == regions.begin()) return nullptr;
	--i;
	size_t offset = (uintptr_t)p - i->first;
	return offset <= i->second.bytes && bytes <= i->second.bytes - offset ? &*i : nullptr;
}

extern "C" bool soft_check(const void *p, size_t bytes) {
	LOCK;
	auto *r = region(p, bytes);
	return r && !r->second.pinned;
}

static bool pinned(const void *p, size_t bytes) {
	auto *r = region(p, bytes);
	return r && r->second.pinned;
}

// ---- streams ----

struct Operation {
	int (*run)(void *data, char *why);
	std::shared_ptr<std::vector<char>> data;
	bool waits; // for other ranks, which may be threads of this process
};
struct Graph {
	std::vector<Operation> operations;
};
struct Stream {
	int device;
	std::deque<Operation> waiting;
	Graph *recording = nullptr;
};
static std::vector<Stream *> streams;
static Stream *null_stream() {
	static Stream s{0, {}, nullptr};
	return &s;
}

static int check_canaries() {
	for (auto &[at, r] : regions)
		if (!intact(at, r)) {
			char why[160];
			snprintf(why, sizeof why, "memory beside an allocation of %zu bytes was written", r.bytes);
			return fail(ILLEGAL_ADDRESS, why);
		}
	return OK;
}

static int drain(Stream *s) {
	if (failed) return failed;
	if (s->waiting.empty()) return OK;
	while (!s->waiting.empty()) {
		Operation o = s->waiting.front();
		s->waiting.pop_front();
		char why[256] = "";
		int status;
		if (o.waits) {
			LetGo others;
			status = o.run(o.data->data(), why);
		} else {
			status = o.run(o.data->data(), why);
		}
		if (status) {
			s->waiting.clear();
			return fail(status, why);
		}
	}
	return check_canaries();
}

static int enqueue(void *stream, int (*run)(void *, char *), const void *data, size_t bytes, bool waits) {
	NEED;
	auto *s = stream ? (Stream *)stream : null_stream();
	auto copy = std::make_shared<std::vector<char>>((const char *)data, (const char *)data + bytes);
	if (s->recording)
		s->recording->operations.push_back({run, copy, waits});
	else
		s->waiting.push_back({run, copy, waits});
	return OK;
}
extern "C" int soft_enqueue(void *stream, int (*run)(void *, char *), const void *data, size_t bytes) { return enqueue(stream, run, data, bytes, false); }
extern "C" int soft_enqueue_waiting(void *stream, int (*run)(void *, char *), const void *data, size_t bytes) { return enqueue(stream, run, data, bytes, true); }

// drain_device drains the streams of the device in use.
static int drain_device() {
	std::vector<Stream *> all = streams; // another thread may add its own meanwhile
	for (auto *s : all)
		if (s->device == device)
			if (int status = drain(s)) return status;
	return drain(null_stream());
}

struct Move {
	void *to;
	const void *from;
	size_t bytes;
	unsigned char fill;
};
static int run_move(void *data, char *why) {
	auto *m = (Move *)data;
	if (!region(m->to, m->bytes) || (m->from && !region(m->from, m->bytes))) {
		snprintf(why, 256, "a copy of %zu bytes reaches out of its allocation", m->bytes);
		return ILLEGAL_ADDRESS;
	}
	if (m->from)
		memmove(m->to, m->from, m->bytes);
	else
		memset(m->to, m->fill, m->bytes);
	return OK;
}

// ---- kernels ----

#if defined(__x86_64__)
asm(R"(
.text
.globl soft_switch
.hidden soft_switch
.type soft_switch, @function
soft_switch:
	pushq %rbp
	pushq %rbx
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, (%rdi)
	movq %rsi, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbx
	popq %rbp
	ret
)");
constexpr int entry_word = 6, frame_words = 8;
#elif defined(__aarch64__)
asm(R"(
.text
.globl soft_switch
.hidden soft_switch
.type soft_switch, %function
soft_switch:
	sub sp, sp, #160
	stp x19, x20, [sp, #0]
	stp x21, x22, [sp, #16]
	stp x23, x24, [sp, #32]
	stp x25, x26, [sp, #48]
	stp x27, x28, [sp, #64]
	stp x29, x30, [sp, #80]
	stp d8, d9, [sp, #96]
	stp d10, d11, [sp, #112]
	stp d12, d13, [sp, #128]
	stp d14, d15, [sp, #144]
	mov x9, sp
	str x9, [x0]
	mov sp, x1
	ldp x19, x20, [sp, #0]
	ldp x21, x22, [sp, #16]
	ldp x23, x24, [sp, #32]
	ldp x25, x26, [sp, #48]
	ldp x27, x28, [sp, #64]
	ldp x29, x30, [sp, #80]
	ldp d8, d9, [sp, #96]
	ldp d10, d11, [sp, #112]
	ldp d12, d13, [sp, #128]
	ldp d14, d15, [sp, #144]
	add sp, sp, #160
	ret
)");
constexpr int entry_word = 11, frame_words = 20;
#else
#error "soft CUDA has no fibers for this processor"
#endif
extern "C" void soft_switch(void **save, void *to);

struct Fiber {
	void *at = nullptr;
	unsigned char *stack = nullptr;
	Thread thread{};
};

// An exchange between threads of a warp that is under way, or is being read.
struct Exchange {
	uint32_t mask, arrived;
	uint64_t values[32];
	Fiber *waiting[32];
	unsigned readers;
};

static struct {
	Block block{};
	void (*call)(void **);
	void **parameters;
	std::string name;

	void *scheduler; // the context to go back to
	std::vector<Fiber *> free, all;
	std::deque<Fiber *> ready;
	Fiber *current;
	unsigned threads, next, ended;
	std::vector<unsigned> order;
	std::vector<Fiber *> barrier;
	std::vector<uint32_t> live; // lanes of each warp that have not ended
	std::vector<std::vector<Exchange *>> exchanges; // under way, of each warp
	std::vector<Exchange *> spare;

	sigjmp_buf out;
	std::string why;
	int status;
} now;

static thread_local bool inside; // this thread runs a kernel

[[noreturn]] static void leave(int status, const std::string &why) {
	now.status = status, now.why = why;
	siglongjmp(now.out, 1);
}

static std::string place_of_thread() {
	auto &b = now.block;
	auto &t = now.current->thread.index;
	char s[200];
	snprintf(s, sizeof s, "kernel %s, block (%u,%u,%u), thread (%u,%u,%u)", now.name.c_str(), b.index.x, b.index.y, b.index.z, t.x, t.y, t.z);
	return s;
}

static void fail_kernel(const char *what, const char *file, unsigned line) {
	char s[200] = "";
	if (file) snprintf(s, sizeof s, "%s:%u: ", file, line);
	leave(LAUNCH_FAILED, s + (what + (": " + place_of_thread())));
}

static void yield() { soft_switch(&now.current->at, now.scheduler); }

static void release_barrier() {
	for (auto *f : now.barrier) now.ready.push_back(f);
	now.barrier.clear();
}

static void barrier() {
	now.barrier.push_back(now.current);
	if (now.barrier.size() == now.threads - now.ended) release_barrier();
	yield();
}

// close ends an exchange if all that live have arrived.
static bool close(unsigned warp, size_t i) {
	auto &open = now.exchanges[warp];
	auto &x = *open[i];
	uint32_t all = x.mask & now.live[warp];
	if ((x.arrived & all) != all) return false;
	now.ready.insert(now.ready.end(), x.waiting, x.waiting + x.readers);
	open.erase(open.begin() + i);
	return true;
}

static const uint64_t *exchange(uint32_t mask, uint64_t value, uint32_t *present) {
	Fiber *me = now.current;
	unsigned warp = me->thread.warp, lane = me->thread.lane;
	if (!(mask >> lane & 1)) fail_kernel("a thread is not in the mask of its warp function", nullptr, 0);
	auto &open = now.exchanges[warp];
	size_t i = 0;
	while (i < open.size() && !(open[i]->mask == mask && !(open[i]->arrived >> lane & 1))) i++;
	if (i == open.size()) {
		if (now.spare.empty()) now.spare.push_back(new Exchange);
		open.push_back(now.spare.back());
		now.spare.pop_back();
		open[i]->mask = mask, open[i]->arrived = 0, open[i]->readers = 0;
		for (auto &v : open[i]->values) v = (uint64_t)poison << 32 | poison;
	}
	auto *x = open[i];
	x->arrived |= 1u << lane;
	x->values[lane] = value;
	x->waiting[x->readers++] = me;
	close(warp, i);
	yield();
	// The last reader reads before another exchange can begin.
	if (--x->readers == 0) now.spare.push_back(x);
	*present = x->arrived;
	return x->values;
}

static void take(Fiber *f, unsigned number) {
	auto &b = now.block;
	f->thread.number = number;
	f->thread.index = {number % b.size.x, number / b.size.x % b.size.y, number / b.size.x / b.size.y};
	f->thread.lane = number % 32, f->thread.warp = number / 32;
	b.self = &f->thread;
}

static void end_thread(Fiber *f) {
	now.ended++;
	unsigned warp = f->thread.warp;
	now.live[warp] &= ~(1u << f->thread.lane);
	if (!now.barrier.empty() && now.barrier.size() == now.threads - now.ended) release_barrier();
	for (size_t i = 0; i < now.exchanges[warp].size();)
		if (!close(warp, i)) i++;
}

// fiber_main runs threads until one has to wait; then another fiber goes on.
static void fiber_main() {
	for (;;) {
		Fiber *me = now.current;
		while (now.next < now.threads) {
			take(me, now.order[now.next++]);
			now.call(now.parameters);
			end_thread(me);
		}
		now.free.push_back(me);
		yield();
	}
}

static void prepare(Fiber *f) {
	constexpr size_t bytes = 256 << 10;
	if (!f->stack) {
		f->stack = (unsigned char *)mmap(nullptr, bytes + page(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		mprotect(f->stack + page(), bytes, PROT_READ | PROT_WRITE);
	}
	auto *top = (void **)(f->stack + page() + bytes);
	auto **frame = top - frame_words;
	memset(frame, 0, frame_words * sizeof *frame);
	frame[entry_word] = (void *)fiber_main;
	f->at = frame;
}

static std::mt19937 &shuffler() {
	static std::mt19937 g(setting("SOFTCUDA_ORDER", 0));
	return g;
}

static std::vector<unsigned> order(unsigned n) {
	std::vector<unsigned> o(n);
	std::iota(o.begin(), o.end(), 0u);
	static bool shuffled = setting("SOFTCUDA_ORDER", 0) != 0;
	if (shuffled) std::shuffle(o.begin(), o.end(), shuffler());
	return o;
}

static void run_block() {
	now.next = now.ended = 0;
	now.threads = now.block.size.x * now.block.size.y * now.block.size.z;
	now.order = order(now.threads);
	now.ready.clear(), now.barrier.clear();
	now.live.assign((now.threads + 31) / 32, ~0u);
	now.exchanges.resize(now.live.size());
	for (auto &open : now.exchanges) open.clear(); // left by a launch that failed
	if (now.threads % 32) now.live.back() = (1u << now.threads % 32) - 1;
	while (now.ended < now.threads) {
		Fiber *f;
		if (!now.ready.empty()) {
			f = now.ready.front();
			now.ready.pop_front();
		} else if (now.next < now.threads) {
			if (now.free.empty()) {
				now.all.push_back(new Fiber);
				prepare(now.all.back());
				now.free.push_back(now.all.back());
			}
			f = now.free.back();
			now.free.pop_back();
		} else {
			leave(LAUNCH_FAILED, "threads wait for others that never come (a barrier or warp function that not all reach): " + place_of_thread());
		}
		now.current = f;
		now.block.self = &f->thread;
		soft_switch(&now.scheduler, f->at);
	}
}

// ---- modules and launches ----

struct LoadedModule {
	void *handle;
	const soft::Module *table;
};
struct Function {
	LoadedModule *module;
	const Kernel *kernel;
	unsigned shared = 48 << 10;
};

struct LaunchData {
	Function *function;
	Dim grid, size;
	unsigned shared;
	alignas(8) unsigned char values[64 * 8];
};

constexpr size_t most_shared = 227 << 10;

static unsigned char *shared_end() {
	static unsigned char *end = [] {
		size_t inner = (most_shared + page() - 1) / page() * page();
		auto *m = (unsigned char *)mmap(nullptr, inner + 2 * page(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		mprotect(m + page(), inner, PROT_READ | PROT_WRITE);
		return m + page() + inner;
	}();
	return end;
}

static struct sigaction old_segv, old_bus, old_fpe;

static void on_signal(int signal, siginfo_t *info, void *context) {
	if (inside) {
		char s[64];
		snprintf(s, sizeof s, "address %p is not the kernel's: ", info->si_addr);
		leave(ILLEGAL_ADDRESS, (signal == SIGFPE ? "division by zero: " : s) + place_of_thread());
	}
	auto &old = signal == SIGSEGV ? old_segv : signal == SIGBUS ? old_bus : old_fpe;
	if (old.sa_flags & SA_SIGINFO)
		old.sa_sigaction(signal, info, context);
	else
		abort();
}

static int run_launch(void *data, char *why) {
	auto *l = (LaunchData *)data;
	auto *table = l->function->module->table;
	auto *kernel = l->function->kernel;
	void *parameters[64];
	for (unsigned i = 0; i < kernel->parameters; i++) parameters[i] = l->values + 8 * i;
	now.call = kernel->call, now.parameters = parameters, now.name = kernel->name;
	now.block.grid = l->grid, now.block.size = l->size;
	now.block.barrier = barrier, now.block.exchange = exchange, now.block.fail = fail_kernel;
	now.block.dynamic = shared_end() - (l->shared + 15) / 16 * 16;
	*table->block = &now.block;

	struct sigaction handler {};
	handler.sa_sigaction = on_signal;
	handler.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigaction(SIGSEGV, &handler, &old_segv);
	sigaction(SIGBUS, &handler, &old_bus);
	sigaction(SIGFPE, &handler, &old_fpe);
	now.status = OK;
	inside = true;
	if (sigsetjmp(now.out, 1) == 0) {
		size_t blocks = (size_t)l->grid.x * l->grid.y * l->grid.z;
		std::vector<unsigned> at = blocks <= 1 << 20 ? order(blocks) : std::vector<unsigned>();
		for (size_t i = 0; i < blocks; i++) {
			size_t b = at.empty() ? i : at[i];
			now.block.index = {unsigned(b % l->grid.x), unsigned(b / l->grid.x % l->grid.y), unsigned(b / l->grid.x / l->grid.y)};
			// Shared memory holds nothing that another block left.
			memset(table->shared, 0xff, table->shared_end - table->shared);
			memset(now.block.dynamic, 0xff, (l->shared + 15) / 16 * 16);
			run_block();
		}
	} else { // the fibers' stacks hold threads that will not go on
		now.free.clear();
		for (auto *f : now.all) {
			prepare(f);
			now.free.push_back(f);
		}
	}
	inside = false;
	sigaction(SIGSEGV, &old_segv, nullptr);
	sigaction(SIGBUS, &old_bus, nullptr);
	sigaction(SIGFPE, &old_fpe, nullptr);
	if (now.status) snprintf(why, 256, "%s", now.why.c_str());
	return now.status;
}

// ---- the driver's functions ----

extern "C" {

int cuInit(unsigned) {
	LOCK;
	started = true;
	return setting("SOFTCUDA_DEVICES", 1) ? OK : NO_DEVICE;
}
int cuDriverGetVersion(int *v) {
	*v = 13000;
	return OK;
}
int cuGetErrorName(int status, const char **name) {
	switch (status) {
	case OK: *name = "CUDA_SUCCESS"; break;
	case INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; break;
	case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; break;
	case NOT_INITIALIZED: *name = "CUDA_ERROR_NOT_INITIALIZED"; break;
	case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; break;
	case INVALID_DEVICE: *name = "CUDA_ERROR_INVALID_DEVICE"; break;
	case INVALID_IMAGE: *name = "CUDA_ERROR_INVALID_IMAGE"; break;
	case INVALID_CONTEXT: *name = "CUDA_ERROR_INVALID_CONTEXT"; break;
	case INVALID_HANDLE: *name = "CUDA_ERROR_INVALID_HANDLE"; break;
	case NOT_FOUND: *name = "CUDA_ERROR_NOT_FOUND"; break;
	case ILLEGAL_ADDRESS: *name = "CUDA_ERROR_ILLEGAL_ADDRESS"; break;
	case LAUNCH_FAILED: *name = "CUDA_ERROR_LAUNCH_FAILED"; break;
	case CAPTURE_UNSUPPORTED: *name = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"; break;
	default: *name = "CUDA_ERROR_UNKNOWN";
	}
	return OK;
}
int cuGetErrorString(int status, const char **text) {
	LOCK;
	if (status == failed && failed)
		*text = detail.c_str();
	else
		*text = "soft CUDA refused the call";
	return OK;
}
int cuDeviceGetCount(int *n) {
	LOCK;
	if (!started) return NOT_INITIALIZED;
	*n = setting("SOFTCUDA_DEVICES", 1);
	return OK;
}
int cuDeviceGet(int *d, int n) {
	if (n < 0 || n >= (int)setting("SOFTCUDA_DEVICES", 1)) return INVALID_DEVICE;
	*d = n;
	return OK;
}
int cuDeviceGetName(char *name, int n, int) {
	snprintf(name, n, "soft CUDA");
	return OK;
}
static size_t memory() { return setting("SOFTCUDA_MEMORY", 4ul << 30); }
int cuDeviceTotalMem_v2(size_t *bytes, int) {
	*bytes = memory();
	return OK;
}
int cuDeviceGetAttribute(int *x, int attribute, int) {
	switch (attribute) {
	case 16: *x = 4; return OK;
	case 75: *x = 9; return OK;
	case 76: *x = 0; return OK;
	case 97: *x = most_shared; return OK;
	}
	return INVALID_VALUE;
}
static std::map<int, int> retained;
int cuDevicePrimaryCtxRetain(void **context, int d) {
	LOCK;
	retained[d]++;
	*context = (void *)(intptr_t)(d + 1);
	return OK;
}
// With the last one goes what hangs from the context, and its error.
int cuDevicePrimaryCtxRelease_v2(int d) {
	LOCK;
	if (retained[d] == 0) return INVALID_CONTEXT;
	if (--retained[d]) return OK;
	for (size_t i = 0; i < streams.size();)
		if (streams[i]->device == d) {
			delete streams[i];
			streams.erase(streams.begin() + i);
		} else {
			i++;
		}
	for (auto i = regions.begin(); i != regions.end();) {
		if (i->second.device == d) {
			retire(i->second);
			i = regions.erase(i);
		} else {
			++i;
		}
	}
	failed = OK;
	detail.clear();
	return OK;
}
int cuCtxSetCurrent(void *context) {
	device = (int)(intptr_t)context - 1;
	return OK;
}
int cuCtxSynchronize() {
	NEED;
	return drain_device();
}

int cuMemAlloc_v2(uintptr_t *p, size_t bytes) {
	NEED;
	if (!bytes) return INVALID_VALUE;
	if (bytes + taken > memory()) return OUT_OF_MEMORY;
	*p = place(bytes, false);
	if (!*p) return OUT_OF_MEMORY;
	taken += bytes;
	return OK;
}
static int give_back(uintptr_t p, bool pinned) {
	auto i = regions.find(p);
	if (i == regions.end() || i->second.pinned != pinned) return INVALID_VALUE;
	if (int status = drain_device()) return status; // as the driver does
	if (int status = check_canaries()) return status;
	i = regions.find(p);
	retire(i->second);
	regions.erase(i);
	return OK;
}
int cuMemFree_v2(uintptr_t p) {
	NEED;
	return give_back(p, false);
}
int cuMemAllocHost_v2(void **p, size_t bytes) {
	NEED;
	*p = (void *)place(bytes, true);
	return *p ? OK : OUT_OF_MEMORY;
}
int cuMemFreeHost(void *p) {
	NEED;
	return give_back((uintptr_t)p, true);
}
int cuMemGetInfo_v2(size_t *left, size_t *all) {
	NEED;
	*all = memory(), *left = memory() > taken ? memory() - taken : 0;
	return OK;
}

int cuStreamCreate(void **stream, unsigned) {
	NEED;
	streams.push_back(new Stream{device, {}, nullptr});
	*stream = streams.back();
	return OK;
}
int cuStreamDestroy_v2(void *stream) {
	NEED;
	auto *s = (Stream *)stream;
	int status = drain(s);
	for (size_t i = 0; i < streams.size(); i++)
		if (streams[i] == s) streams.erase(streams.begin() + i);
	delete s;
	return status;
}
int cuStreamSynchronize(void *stream) {
	NEED;
	auto *s = (Stream *)stream;
	if (s->recording) return CAPTURE_UNSUPPORTED;
	return drain(s);
}

int cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t bytes, void *stream) {
	if (!soft_check((void *)to, bytes) || !soft_check((void *)from, bytes)) return INVALID_VALUE;
	Move m{(void *)to, (void *)from, bytes, 0};
	return soft_enqueue(stream, run_move, &m, sizeof m);
}
int cuMemsetD8Async(uintptr_t to, unsigned char fill, size_t bytes, void *stream) {
	if (!soft_check((void *)to, bytes)) return INVALID_VALUE;
	Move m{(void *)to, nullptr, bytes, fill};
	return soft_enqueue(stream, run_move, &m, sizeof m);
}

struct Upload {
	void *to;
	size_t bytes;
};
static int run_upload(void *data, char *why) {
	auto *u = (Upload *)data;
	if (!soft_check(u->to, u->bytes)) {
		snprintf(why, 256, "an upload of %zu bytes to memory that was given back", u->bytes);
		return ILLEGAL_ADDRESS;
	}
	memcpy(u->to, u + 1, u->bytes);
	return OK;
}
int cuMemcpyHtoDAsync_v2(uintptr_t to, const void *from, size_t bytes, void *stream) {
	NEED;
	if (!soft_check((void *)to, bytes)) return INVALID_VALUE;
	if (pinned(from, bytes)) {
		Move m{(void *)to, from, bytes, 0};
		return soft_enqueue(stream, run_move, &m, sizeof m);
	}
	if (((Stream *)stream)->recording) return CAPTURE_UNSUPPORTED;
	std::vector<char> copy(sizeof(Upload) + bytes);
	Upload u{(void *)to, bytes};
	memcpy(copy.data(), &u, sizeof u);
	memcpy(copy.data() + sizeof u, from, bytes);
	return soft_enqueue(stream, run_upload, copy.data(), copy.size());
}
int cuMemcpyDtoHAsync_v2(void *to, uintptr_t from, size_t bytes, void *stream) {
	NEED;
	if (!soft_check((void *)from, bytes)) return INVALID_VALUE;
	if (pinned(to, bytes)) {
		Move m{to, (void *)from, bytes, 0};
		return soft_enqueue(stream, run_move, &m, sizeof m);
	}
	auto *s = (Stream *)stream;
	if (s->recording) return CAPTURE_UNSUPPORTED;
	if (int status = drain(s)) return status;
	memcpy(to, (void *)from, bytes);
	return OK;
}

int cuModuleLoadData(void **module, const char *image) {
	NEED;
	if (strncmp(image, magic, sizeof magic - 1)) return INVALID_IMAGE;
	void *handle = dlopen(image + sizeof magic - 1, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		fprintf(stderr, "soft CUDA: %s\n", dlerror());
		return INVALID_IMAGE;
	}
	auto *table = (const soft::Module *)dlsym(handle, "soft_module");
	if (!table) return INVALID_IMAGE;
	*module = new LoadedModule{handle, table};
	return OK;
}
int cuModuleUnload(void *module) {
	NEED;
	delete (LoadedModule *)module; // its code stays: another module may be the same file
	return OK;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
	NEED;
	auto *m = (LoadedModule *)module;
	for (unsigned i = 0; i < m->table->count; i++)
		if (!strcmp(m->table->kernels[i].name, name)) {
			*function = new Function{new LoadedModule(*m), &m->table->kernels[i]};
			return OK;
		}
	return NOT_FOUND;
}
int cuFuncGetParamInfo(void *function, size_t i, size_t *offset, size_t *size) {
	auto *k = ((Function *)function)->kernel;
	if (i >= k->parameters) return INVALID_VALUE;
	*offset = 8 * i, *size = k->sizes[i];
	return OK;
}
int cuFuncSetAttribute(void *function, int attribute, int value) {
	NEED;
	if (attribute != 8 || value < 0 || (size_t)value > most_shared) return INVALID_VALUE;
	((Function *)function)->shared = value;
	return OK;
}
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, void *stream, void **parameters, void **) {
	auto *f = (Function *)function;
	size_t threads = (size_t)bx * by * bz;
	if (!gx || !gy || !gz || gx > 0x7fffffff || gy > 65535 || gz > 65535 || !threads || threads > 1024 || bz > 64 || shared > f->shared) return INVALID_VALUE;
	LaunchData l{f, {gx, gy, gz}, {bx, by, bz}, shared, {}};
	if (f->kernel->parameters > 64) return INVALID_VALUE;
	for (unsigned i = 0; i < f->kernel->parameters; i++) {
		if (f->kernel->sizes[i] > 8) return INVALID_VALUE;
		memcpy(l.values + 8 * i, parameters[i], f->kernel->sizes[i]);
	}
	return soft_enqueue(stream, run_launch, &l, sizeof l);
}

int cuStreamBeginCapture_v2(void *stream, int) {
	NEED;
	auto *s = (Stream *)stream;
	if (s->recording) return CAPTURE_UNSUPPORTED;
	s->recording = new Graph;
	return OK;
}
int cuStreamEndCapture(void *stream, void **graph) {
	NEED;
	auto *s = (Stream *)stream;
	if (!s->recording) return CAPTURE_UNSUPPORTED;
	*graph = s->recording;
	s->recording = nullptr;
	return OK;
}
int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long) {
	NEED;
	*executable = new Graph(*(Graph *)graph);
	return OK;
}
int cuGraphLaunch(void *executable, void *stream) {
	NEED;
	auto *s = (Stream *)stream;
	for (auto &o : ((Graph *)executable)->operations) {
		if (s->recording)
			s->recording->operations.push_back(o);
		else
			s->waiting.push_back(o);
	}
	return OK;
}
int cuGraphDestroy(void *graph) {
	NEED;
	delete (Graph *)graph;
	return OK;
}
int cuGraphExecDestroy(void *executable) {
	NEED;
	if (int status = drain_device()) return status;
	delete (Graph *)executable;
	return OK;
}

} // extern "C"
