package kernel

import "golang.org/x/sys/cpu"

// detect asks the processor, and through it the operating system, what there is.
func detect() []Level {
	x := &cpu.X86
	l := []Level{Plain}
	if !x.HasAVX2 || !x.HasFMA || !hasF16C() {
		return l
	}
	l = append(l, AVX2)
	if hasAVXVNNI() {
		l = append(l, AVXVNNI)
	}
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VNNI {
		l = append(l, AVX512)
	}
	return l
}

// hasAVXVNNI says whether the processor has the VEX form of VPDPBUSD and there
// are kernels for it.
func hasAVXVNNI() bool { return false }

// hasF16C says whether the processor converts half precision.
func hasF16C() bool

// pause runs n PAUSE instructions, n > 0: for a spin.
func pause(n int64)
