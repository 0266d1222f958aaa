// libnccl: sums between processes of one machine. Rank 0 listens on a local
// socket named by the unique id, adds in the order of ranks, and sends the sum
// back. A process that ends is an error to the others.
#include "soft.h"

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <atomic>
#include <random>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

enum { OK = 0, SYSTEM = 2, INVALID_ARGUMENT = 4, REMOTE = 6 };

struct Id {
	char text[128];
};

struct Comm {
	int rank, world;
	std::vector<int> sockets; // rank 0: of the others in order; else: rank 0's
	std::atomic<int> state{OK};
};

socklen_t address(const Id &id, sockaddr_un &a) { // no file: the name begins with a zero
	a = {};
	a.sun_family = AF_UNIX;
	size_t n = strnlen(id.text, 60);
	memcpy(a.sun_path + 1, id.text, n);
	return offsetof(sockaddr_un, sun_path) + 1 + n;
}

bool all(int fd, void *data, size_t bytes, bool sending) {
	auto *p = (char *)data;
	while (bytes) {
		ssize_t n = sending ? send(fd, p, bytes, MSG_NOSIGNAL) : recv(fd, p, bytes, 0);
		if (n < 0 && errno == EINTR) continue;
		if (n <= 0) return false;
		p += n, bytes -= n;
	}
	return true;
}

float load(const std::vector<char> &v, size_t i, bool half) {
	float f;
	if (half) {
		uint16_t h;
		memcpy(&h, &v[2 * i], 2);
		uint32_t u = (uint32_t)h << 16;
		memcpy(&f, &u, 4);
	} else {
		memcpy(&f, &v[4 * i], 4);
	}
	return f;
}

struct Sum {
	Comm *comm;
	void *to;
	const void *from;
	size_t n;
	bool half;
};

int run(void *data, char *why) {
	auto &s = *(Sum *)data;
	size_t bytes = s.n * (s.half ? 2 : 4);
	if (!soft_check(s.from, bytes) || !soft_check(s.to, bytes)) {
		snprintf(why, 256, "NCCL: a sum of %zu values reaches out of its allocation", s.n);
		return 700;
	}
	auto lost = [&] {
		s.comm->state = REMOTE;
		snprintf(why, 256, "NCCL: another rank has gone");
		return 719;
	};
	auto &c = *s.comm;
	// The number of values goes first: ranks that do not sum the same fail.
	if (c.rank) {
		uint64_t n = bytes;
		if (!all(c.sockets[0], &n, 8, true) || !all(c.sockets[0], (void *)s.from, bytes, true) || !all(c.sockets[0], s.to, bytes, false)) return lost();
		return 0;
	}
	std::vector<float> sum(s.n);
	std::vector<char> part((const char *)s.from, (const char *)s.from + bytes);
	for (size_t i = 0; i < s.n; i++) sum[i] = load(part, i, s.half);
	for (int fd : c.sockets) {
		uint64_t n;
		if (!all(fd, &n, 8, false)) return lost();
		if (n != bytes) {
			c.state = INVALID_ARGUMENT;
			snprintf(why, 256, "NCCL: ranks sum %zu and %zu bytes", bytes, (size_t)n);
			return 719;
		}
		if (!all(fd, part.data(), bytes, false)) return lost();
		for (size_t i = 0; i < s.n; i++) sum[i] += load(part, i, s.half);
	}
	for (size_t i = 0; i < s.n; i++) {
		uint32_t u;
		memcpy(&u, &sum[i], 4);
		if (s.half) {
			uint16_t h = sum[i] != sum[i] ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
			memcpy(&part[2 * i], &h, 2);
		} else {
			memcpy(&part[4 * i], &u, 4);
		}
	}
	for (int fd : c.sockets)
		if (!all(fd, part.data(), bytes, true)) return lost();
	memcpy(s.to, part.data(), bytes);
	return 0;
}

} // namespace

extern "C" {

const char *ncclGetErrorString(int status) {
	switch (status) {
	case OK: return "no error";
	case SYSTEM: return "unhandled system error";
	case INVALID_ARGUMENT: return "invalid argument";
	case REMOTE: return "remote process exited or there was a network error";
	}
	return "unknown result code";
}
int ncclGetUniqueId(Id *id) {
	std::random_device random;
	memset(id, 0, sizeof *id);
	snprintf(id->text, sizeof id->text, "softnccl-%d-%08x%08x", getpid(), random(), random());
	// Also words after the name, so that a caller that loses some is found.
	for (int i = 64; i < 128; i++) id->text[i] = (char)i;
	return OK;
}
int ncclCommInitRank(Comm **comm, int world, Id id, int rank) {
	for (int i = 64; i < 128; i++)
		if (id.text[i] != (char)i) return INVALID_ARGUMENT;
	if (world < 1 || rank < 0 || rank >= world) return INVALID_ARGUMENT;
	auto *c = new Comm;
	c->rank = rank, c->world = world;
	sockaddr_un a;
	socklen_t n = address(id, a);
	auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
	if (rank == 0 && world > 1) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || bind(fd, (sockaddr *)&a, n) || listen(fd, world)) return SYSTEM;
		timeval wait{20, 0};
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
		c->sockets.assign(world - 1, -1);
		for (int i = 1; i < world; i++) {
			int peer = accept4(fd, nullptr, nullptr, SOCK_CLOEXEC), who = 0;
			if (peer < 0 || !all(peer, &who, sizeof who, false) || who < 1 || who >= world || c->sockets[who - 1] >= 0) return REMOTE;
			c->sockets[who - 1] = peer;
		}
		close(fd);
	} else if (rank) {
		int fd = -1;
		while (fd < 0) {
			fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
			if (fd < 0) return SYSTEM;
			if (connect(fd, (sockaddr *)&a, n) == 0) break;
			close(fd), fd = -1;
			if (std::chrono::steady_clock::now() > until) return REMOTE;
			std::this_thread::sleep_for(std::chrono::milliseconds(10));
		}
		if (!all(fd, &rank, sizeof rank, true)) return REMOTE;
		c->sockets.push_back(fd);
	}
	*comm = c;
	return OK;
}
int ncclAllReduce(const void *from, void *to, size_t n, int type, int op, Comm *c, void *stream) {
	if ((type != 7 && type != 9) || op != 0) return INVALID_ARGUMENT;
	Sum s{c, to, from, n, type == 9};
	return soft_enqueue_waiting(stream, run, &s, sizeof s) ? 1 : OK;
}
int ncclCommGetAsyncError(Comm *c, int *state) {
	*state = c->state;
	return OK;
}
int ncclCommAbort(Comm *c) { // the memory stays: another thread may be in a sum
	for (int fd : c->sockets) shutdown(fd, SHUT_RDWR);
	return OK;
}
int ncclCommDestroy(Comm *c) {
	for (int fd : c->sockets) close(fd);
	delete c;
	return OK;
}

} // extern "C"
