package peer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// memory is what a process holds, in bytes; zero where the system does not say.
type memory struct {
	Resident int64 `json:"resident"` // VmRSS: now
	Peak     int64 `json:"peak"`     // VmHWM: at most so far
	File     int64 `json:"file"`     // RssFile: of Resident, pages of mapped files
}

// readMemory asks Linux about this process.
func readMemory() (memory, error) {
	data, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, fs.ErrNotExist) {
		return memory{}, nil
	}
	if err != nil {
		return memory{}, err
	}
	return parseMemory(string(data))
}

func parseMemory(status string) (memory, error) {
	var m memory
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		to, ok := map[string]*int64{"VmRSS": &m.Resident, "VmHWM": &m.Peak, "RssFile": &m.File}[name]
		if !ok {
			continue
		}
		if _, err := fmt.Sscanf(value, "%d kB", to); err != nil {
			return memory{}, fmt.Errorf("/proc/self/status: %s: %w", strings.TrimSpace(line), err)
		}
		*to *= 1024
	}
	return m, nil
}
