package kernel

import "golang.org/x/sys/cpu"

// detect asks the operating system what there is. Every arm64 processor that
// Go runs on has NEON.
func detect() []Level {
	l := []Level{Plain, NEON}
	if cpu.ARM64.HasASIMDDP {
		l = append(l, NEONDot)
	}
	return l
}

// pause waits n times as long as an instruction barrier takes, n > 0: for a
// spin. YIELD, which the manual has for this, does nothing on most processors.
func pause(n int64)
