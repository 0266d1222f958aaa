package peer

import (
	"time"

	"crayon/internal/kernel"
)

// Peaks is what the machine itself reaches in the same run, and Crayon's share
// of it.
type Peaks struct {
	ReadGBs     float64 `json:"read_gbs"`               // 1e9 bytes/s of a loop that only reads
	DecodeShare float64 `json:"decode_share,omitempty"` // packed weight bytes x tokens/s of row "decode", over that
}

const (
	readBytes  = 1 << 30
	readPasses = 5
	readGrain  = 1 << 16 // floats a chunk
)

// readSpeed sums the squares of 1 GiB of float32 with the given threads and
// gives the best pass's bytes/s.
func readSpeed(threads int) float64 {
	team := kernel.NewTeam(threads)
	defer team.Close()
	x := make([]float32, readBytes/4)
	team.For(len(x), readGrain, func(lo, hi int) { // touch every page
		for i := lo; i < hi; i++ {
			x[i] = 1
		}
	})
	sums := make([]float32, len(x)/readGrain)
	best := 0.0
	for range readPasses {
		start := time.Now()
		team.For(len(sums), 1, func(lo, hi int) {
			for i := lo; i < hi; i++ {
				part := x[i*readGrain : (i+1)*readGrain]
				sums[i] = kernel.Dot(part, part)
			}
		})
		best = max(best, readBytes/time.Since(start).Seconds())
	}
	return best
}

// measurePeaks fills in the report's peaks; weights is the size in bytes of
// Crayon's packed weights.
func (r *Report) measurePeaks(weights int) {
	speed := readSpeed(r.Threads)
	r.Peaks.ReadGBs = speed / 1e9
	for _, m := range r.Rows {
		if m.Name == "decode" {
			r.Peaks.DecodeShare = float64(weights) * m.CrayonTPS / speed
		}
	}
}
