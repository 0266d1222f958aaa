// Package cuda calls NVIDIA's libraries without cgo: the driver (libcuda), the
// compiler of kernels (libnvrtc), products of matrices (libcublas), sums over
// processes (libnccl). They are opened at run time; the package builds and
// links on machines that have none. Its functions exist on Linux, amd64 and
// arm64, alone.
//
// A Driver is opened once. A Device and all that hangs from it belong to the
// goroutine that opened it, which must be locked to its thread
// (runtime.LockOSThread): CUDA keeps the device in use by thread.
//
// The same calls run on a machine without a GPU over test/softcuda, which is
// put in the libraries' place by the variable CRAYON_CUDA_LIBS.
package cuda
