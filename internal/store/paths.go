// Package store keeps Crayon's files: where they live, how they are written
// so that a crash or a full disk leaves the old one, and who may write now.
package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"crayon/internal/fault"
)

// Paths are the folders Crayon keeps its files in. All are absolute.
type Paths struct {
	Data   string // models, pools, customisations, the ledger
	Config string // crayon.yaml
	Cache  string // what may be thrown away at any time
}

// Resolve returns the folders. With home set (CRAYON_HOME), everything is
// under it. Otherwise the XDG base directory variables decide, and where one
// is not set, the custom of the operating system. Nothing is created.
func Resolve(home string) (Paths, error) {
	return resolve(home, runtime.GOOS, os.Getenv, os.UserHomeDir)
}

func resolve(home, goos string, getenv func(string) string, userHome func() (string, error)) (Paths, error) {
	if home != "" {
		abs, err := filepath.Abs(home)
		if err != nil {
			return Paths{}, &fault.Error{Op: "find home", Path: home, Err: err, Hint: "set CRAYON_HOME to an absolute folder"}
		}
		return Paths{Data: abs, Config: abs, Cache: filepath.Join(abs, "cache")}, nil
	}
	var need error
	under := func(parts ...string) string {
		dir, err := userHome()
		if err != nil {
			need = err
			return ""
		}
		return filepath.Join(append([]string{dir}, parts...)...)
	}
	// The XDG specification has a relative value ignored.
	xdg := func(name string, otherwise func() string) string {
		if v := getenv(name); filepath.IsAbs(v) {
			return filepath.Join(v, "crayon")
		}
		return otherwise()
	}
	env := func(name string, fallback ...string) string {
		if v := getenv(name); v != "" {
			return filepath.Join(v, "crayon")
		}
		return under(append(fallback, "crayon")...)
	}
	var p Paths
	switch goos {
	case "windows":
		p.Data = xdg("XDG_DATA_HOME", func() string { return env("LOCALAPPDATA", "AppData", "Local") })
		p.Config = xdg("XDG_CONFIG_HOME", func() string { return env("APPDATA", "AppData", "Roaming") })
		p.Cache = xdg("XDG_CACHE_HOME", func() string { return filepath.Join(env("LOCALAPPDATA", "AppData", "Local"), "cache") })
	case "darwin":
		p.Data = xdg("XDG_DATA_HOME", func() string { return under("Library", "Application Support", "crayon") })
		p.Config = xdg("XDG_CONFIG_HOME", func() string { return under("Library", "Application Support", "crayon") })
		p.Cache = xdg("XDG_CACHE_HOME", func() string { return under("Library", "Caches", "crayon") })
	default:
		p.Data = xdg("XDG_DATA_HOME", func() string { return under(".local", "share", "crayon") })
		p.Config = xdg("XDG_CONFIG_HOME", func() string { return under(".config", "crayon") })
		p.Cache = xdg("XDG_CACHE_HOME", func() string { return under(".cache", "crayon") })
	}
	if need != nil {
		return Paths{}, &fault.Error{Op: "find home", Err: fmt.Errorf("no home folder: %w", need), Hint: "export CRAYON_HOME=/some/folder"}
	}
	return p, nil
}

// Models is the folder of pulled models.
func (p Paths) Models() string { return filepath.Join(p.Data, "models") }

// Model is where the model of an alias lies: models/ALIAS.gguf.
func (p Paths) Model(alias string) string { return filepath.Join(p.Models(), alias+".gguf") }

// Pools is the folder of pulled and trained pools.
func (p Paths) Pools() string { return filepath.Join(p.Data, "pools") }

// Sets is the folder of data sets fetched from the hub.
func (p Paths) Sets() string { return filepath.Join(p.Data, "data") }

// Customisations is the folder of the user's customisations.
func (p Paths) Customisations() string { return filepath.Join(p.Data, "customisations") }

// Ledger is the file that lists every call that left.
func (p Paths) Ledger() string { return filepath.Join(p.Data, "ledger.jsonl") }

// Routing is the folder of calibrations and of the log of decisions.
func (p Paths) Routing() string { return filepath.Join(p.Data, "routing") }

// Budget is the folder of what was spent, a file a day.
func (p Paths) Budget() string { return filepath.Join(p.Data, "budget") }

// Private is the file of conversations that held something private, by digests
// of their ids.
func (p Paths) Private() string { return filepath.Join(p.Data, "private-conversations") }

// ConfigFile is crayon.yaml in the config folder.
func (p Paths) ConfigFile() string { return filepath.Join(p.Config, "crayon.yaml") }

// MakeDir creates a folder and its parents for the owner alone (0700).
func MakeDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		hint := "set CRAYON_HOME to a folder you may write to"
		if errors.Is(err, os.ErrExist) {
			hint = "move the file of that name away"
		}
		return &fault.Error{Op: "make folder", Path: path, Err: err, Hint: hint}
	}
	return nil
}
