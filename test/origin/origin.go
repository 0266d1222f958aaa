// Package origin says where a result comes from: which commit, on which machine.
package origin

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Machine is what a figure was measured on.
type Machine struct {
	CPU    string `json:"cpu"` // "" where the system does not tell
	Cores  int    `json:"cores"`
	System string `json:"system"` // GOOS/GOARCH
}

// ThisMachine is the machine this program runs on.
func ThisMachine() Machine {
	return Machine{CPU: processor(), Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH}
}

func processor() string {
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

// Commit is the short name of the commit that is checked out in the working
// folder, with "-dirty" where tracked files have changed; "" outside git.
func Commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--exclude=*").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
