package peer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"crayon/internal/atomicfile"
)

// Report is a run's result file.
type Report struct {
	Date    time.Time     `json:"date"`
	Commit  string        `json:"commit"` // with "-dirty" when the tree had changes; "" outside git
	Machine Machine       `json:"machine"`
	Threads int           `json:"threads"`
	Engines []string      `json:"engines"`
	Rows    []Measurement `json:"rows"`
	Peaks   Peaks         `json:"peaks"`
}

// Machine is what the figures were measured on.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	System string `json:"system"` // GOOS/GOARCH
}

func newReport(o Options) *Report {
	return &Report{
		Date: time.Now().UTC().Truncate(time.Second), Commit: commit(), Threads: o.Threads,
		Machine: Machine{CPU: cpuName(), Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH},
	}
}

func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func cpuName() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Steady tells whether every row's ratios agreed.
func (r *Report) Steady() bool {
	for _, m := range r.Rows {
		if !m.Steady {
			return false
		}
	}
	return true
}

// Line is the run on one line: "peer: prefill=1.000 decode=0.700 ...".
func (r *Report) Line() string {
	var b strings.Builder
	b.WriteString("peer:")
	for _, m := range r.Rows {
		fmt.Fprintf(&b, " %s=%.3f", m.Name, m.Ratio)
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
