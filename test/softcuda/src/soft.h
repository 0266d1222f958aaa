// What libcuda, the other libraries and compiled kernels share.
#pragma once
#include <cstddef>
#include <cstdint>

namespace soft {

struct Dim {
	unsigned x, y, z;
};

// A thread of the running block.
struct Thread {
	Dim index;
	unsigned number, lane, warp; // number: x fastest, as the hardware counts
};

// Block is what a kernel sees of its run. Blocks run one after another, the
// threads of a block as fibers of one thread of the machine.
struct Block {
	Dim grid, size, index;
	Thread *self;           // the thread that runs
	unsigned char *dynamic; // the dynamic shared memory

	void (*barrier)();
	// Waits for the threads of the mask that live, and gives the values of all
	// lanes; lanes outside hold a poison. To be read before the next call.
	const uint64_t *(*exchange)(uint32_t mask, uint64_t value, uint32_t *present);
	// Ends the launch with an error. Does not return.
	void (*fail)(const char *what, const char *file, unsigned line);
};

// A kernel of a compiled file.
struct Kernel {
	const char *name;
	void (*call)(void **parameters);
	const unsigned *sizes; // bytes of each parameter
	unsigned parameters;
};

// The table soft_module of a compiled file.
struct Module {
	Block **block; // where its kernels look for the block
	const Kernel *kernels;
	unsigned count;
	unsigned char *shared, *shared_end; // all its __shared__ variables
};

// The magic word of what stands for machine code; a path follows.
constexpr char magic[] = "softcuda:";

constexpr unsigned poison = 0x7fc0dead; // a NaN, in bfloat16 as well

} // namespace soft

extern "C" {
// soft_enqueue gives a stream an operation: run is called with a copy of the
// bytes at data, which is one with each repetition of a recording. It returns
// a CUresult, and text in why (256 bytes) if that is not 0.
int soft_enqueue(void *stream, int (*run)(void *data, char *why), const void *data, size_t bytes);

// The same for an operation that waits for other ranks.
int soft_enqueue_waiting(void *stream, int (*run)(void *data, char *why), const void *data, size_t bytes);

// soft_check says whether bytes at p lie in one allocation of the device.
bool soft_check(const void *p, size_t bytes);
}
