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
	if x.HasAVXVNNI {
		l = append(l, AVXVNNI)
	}
	if x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512DQ && x.HasAVX512VNNI {
		l = append(l, AVX512)
	}
	return l
}

// hasF16C says whether the processor converts half precision.
func hasF16C() bool

// pause runs n PAUSE instructions, n > 0: for a spin.
func pause(n int64)
