package peer

import (
	"time"

	"crayon/internal/kernel"
)

// Peaks is what the machine itself reaches in the same run, and Crayon's shares
// of it. A share is 0 when the row or the peak it comes from was not measured.
type Peaks struct {
	Int8GOPS     float64 `json:"int8_gops"`     // 1e9 operations/s of a loop of 8-bit products, two operations each
	ReadGBs      float64 `json:"read_gbs"`      // 1e9 bytes/s of a loop that only reads, over 1 GiB
	PrefillShare float64 `json:"prefill_share"` // 2 x linear parameters x tokens/s of row "prefill", over the first
	DecodeShare  float64 `json:"decode_share"`  // packed weight bytes x tokens/s of row "decode", over the second
}

const (
	readBytes = 1 << 30
	peakTime  = time.Second // of each loop
)

// measurePeaks fills in the report's peaks. size is what Crayon runs.
func (r *Report) measurePeaks(size Size) {
	team := kernel.NewTeam(r.Threads)
	defer team.Close()
	buf := make([]byte, readBytes)
	for i := 0; i < len(buf); i += 4096 {
		buf[i] = 1 // a page that was never written is one and the same page of zeros
	}
	rates := kernel.Measure(team, peakTime, buf)
	r.Peaks = Peaks{Int8GOPS: rates.Int8 / 1e9, ReadGBs: rates.Read / 1e9}
	for _, m := range r.Rows {
		switch {
		case m.Name == "prefill" && rates.Int8 > 0:
			r.Peaks.PrefillShare = 2 * float64(size.Linear) * m.CrayonTPS / rates.Int8
		case m.Name == "decode" && rates.Read > 0:
			r.Peaks.DecodeShare = float64(size.Bytes) * m.CrayonTPS / rates.Read
		}
	}
}
