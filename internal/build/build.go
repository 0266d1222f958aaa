// Package build says what program this is: from which commit, by which Go, and
// with which arithmetic it runs.
package build

import (
	"runtime"
	"runtime/debug"

	"crayon/internal/kernel"
)

// Version is set by the linker in released archives.
var Version = "dev"

// Info is what a build says of itself.
type Info struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"` // with "-dirty" when the tree had changes
	Time     string `json:"time,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"` // such as linux/amd64
	Kernel   string `json:"kernel"`   // the level of the arithmetic, such as avx512
}

// Read is this program's info.
func Read() Info {
	i := Info{Version: Version, Commit: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Kernel: kernel.Current().String()}
	b, ok := debug.ReadBuildInfo()
	if !ok {
		return i
	}
	if i.Version == "dev" && b.Main.Version != "" && b.Main.Version != "(devel)" {
		i.Version = b.Main.Version
	}
	dirty := false
	for _, s := range b.Settings {
		switch s.Key {
		case "vcs.revision":
			i.Commit = s.Value
		case "vcs.time":
			i.Time = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty {
		i.Commit += "-dirty"
	}
	return i
}
