package peer

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"crayon/internal/atomicfile"
	"crayon/test/origin"
)

// Report is a run's result file.
type Report struct {
	Date    time.Time      `json:"date"`
	Commit  string         `json:"commit"` // with "-dirty" when the tree had changes; "" outside git
	Machine origin.Machine `json:"machine"`
	Threads int            `json:"threads"`
	Engines []string       `json:"engines"`
	Rows    []Measurement  `json:"rows"`
	// Footprint is nil when it was not measured.
	Footprint *Footprint `json:"footprint,omitempty"`
}

func newReport(o Options) *Report {
	return &Report{
		Date: time.Now().UTC().Truncate(time.Second), Commit: origin.Commit(), Threads: o.Threads,
		Machine: origin.ThisMachine(),
	}
}

// engine notes an engine's name, once.
func (r *Report) engine(name string) {
	if !slices.Contains(r.Engines, name) {
		r.Engines = append(r.Engines, name)
	}
}

// Unsteady are the rows whose ratios never agreed.
func (r *Report) Unsteady() []Measurement {
	return slices.DeleteFunc(slices.Clone(r.Rows), func(m Measurement) bool { return m.Steady })
}

// String is a row as the log shows it.
func (m Measurement) String() string {
	rival := "llama.cpp"
	if m.Contender.Engine == Crayon {
		rival = "against"
	}
	return fmt.Sprintf("%-14s %6.3f   spread %4.1f %%   crayon %8.1f   %s %8.1f %s   %d x %d repeats",
		m.Name, m.Figure(), 100*m.Spread, m.CrayonTPS, rival, m.PeerTPS, m.Unit, m.Attempts, len(m.Ratios))
}

// Line is the run on one line: "peer: prefill=1.000 decode=0.700 ...".
func (r *Report) Line() string {
	var b strings.Builder
	b.WriteString("peer:")
	for _, m := range r.Rows {
		fmt.Fprintf(&b, " %s=%.3f", m.Name, m.Figure())
	}
	return b.String()
}

// Shares tells, a line each, how much of the machine's ceilings and of memory
// and time Crayon takes; what was not measured is left out.
func (r *Report) Shares() string {
	var b strings.Builder
	for _, m := range r.Rows {
		switch m.Ceiling {
		case Int8:
			fmt.Fprintf(&b, "%s: %.2f of the int8 peak, %.0f GOP/s\n", m.Name, m.Share, m.Loop/1e9)
		case Read:
			fmt.Fprintf(&b, "%s: %.2f of the read loop, %.1f GB/s\n", m.Name, m.Share, m.Loop/1e9)
		}
	}
	if f := r.Footprint; f != nil {
		const mb = 1e6
		fmt.Fprintf(&b, "memory after %d tokens: %.1f MB resident (%.1f of it mapped files; at most %.1f so far); allowed %.1f: weights %.1f, cache %.1f, %.0f beside\n",
			f.Tokens, float64(f.Memory.Resident)/mb, float64(f.Memory.File)/mb, float64(f.Memory.Peak)/mb, float64(f.Allowed)/mb, float64(f.Weights)/mb, float64(f.Cache)/mb, beside/mb)
		fmt.Fprintf(&b, "opening the model: %.3f s\n", f.Open)
		fmt.Fprintf(&b, "customize --no-proof of 16 examples (%s): %.3f s as a process, %.3f s with the model open\n", f.Examples, f.Customize, f.CustomizeOpen)
	}
	return b.String()
}

// Write puts the report into dir as peer-DATE-COMMIT.json and gives the path.
func (r *Report) Write(dir string) (string, error) {
	name := "peer-" + r.Date.Format("20060102T150405Z")
	if r.Commit != "" {
		name += "-" + r.Commit
	}
	path := filepath.Join(dir, name+".json")
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return path, atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
}
