package kernel

import "time"

// Rates are what this machine does at the level in use, on the threads of a
// team: the ceilings that the kernels are measured against.
type Rates struct {
	Float float64 // float32 fused multiply-adds, operations/s (2 each)
	Int8  float64 // products of 8-bit integers with sums, operations/s (2 each)
	Read  float64 // bytes/s read from memory
}

// Measure runs each peak loop for at least the given time, best of several
// pieces, and reads over buf, which should be much larger than the caches.
// At level Plain there are no such loops, and the rates are 0.
func Measure(t *Team, d time.Duration, buf []byte) Rates {
	threads := t.Threads()
	spread := func(f func(part int)) {
		t.For(threads, 1, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				f(i)
			}
		})
	}
	rate := func(work float64, f func()) float64 {
		if work == 0 {
			return 0
		}
		f()
		least := time.Duration(1<<63 - 1)
		for end := time.Now().Add(d); time.Now().Before(end); {
			begin := time.Now()
			f()
			least = min(least, time.Since(begin))
		}
		return work / least.Seconds()
	}
	const loops = 20000
	part := len(buf) / threads &^ 511
	return Rates{
		Float: rate(peakFMA(0)*loops*float64(threads), func() { spread(func(int) { peakFMA(loops) }) }),
		Int8:  rate(peakDot(0)*loops*float64(threads), func() { spread(func(int) { peakDot(loops) }) }),
		Read: rate(min(float64(part*threads), peakDot(0)*float64(len(buf))), func() {
			spread(func(i int) { readAll(buf[i*part : (i+1)*part]) })
		}),
	}
}
