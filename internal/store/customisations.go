package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"crayon/internal/fault"
)

const (
	entryExt     = ".crayon"
	versionsDir  = ".versions"
	lockName     = ".lock"
	versionTime  = "20060102T150405.000000000Z"
	keptVersions = 20       // older versions of a name beyond these are deleted
	maxEntry     = 64 << 20 // bytes; a customisation is a few kilobytes
	lockWait     = 10 * time.Second
)

// Customisations is the folder of named small files that hold the user's
// customisations. What a file holds is the caller's. Every change keeps the
// content it replaces as a version, so that it can be undone. Safe for
// several processes.
type Customisations struct{ dir string }

// OpenCustomisations uses dir, which need not exist yet.
func OpenCustomisations(dir string) *Customisations { return &Customisations{dir} }

// Entry is one customisation in the folder.
type Entry struct {
	Name    string
	Path    string
	Bytes   int64
	Changed time.Time
}

// Version is an older content of a name.
type Version struct {
	ID    string    // to give to Restore; sorts by time
	When  time.Time // when it was replaced or removed
	Bytes int64
}

// Path is where the file of a name lies or would lie.
func (c *Customisations) Path(name string) string { return filepath.Join(c.dir, name+entryExt) }

// Put stores data under name, keeping the content it replaces as a version.
// A name that differs from another only in case is refused: some file systems
// can't tell them apart.
func (c *Customisations) Put(name string, data []byte) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if len(data) > maxEntry {
		return &fault.Error{Op: "store customisation", Path: name, Err: fmt.Errorf("%d bytes, more than %d", len(data), maxEntry)}
	}
	return c.change(func() error {
		if err := c.clash(name, ""); err != nil {
			return err
		}
		if err := c.keep(name, false); err != nil {
			return err
		}
		return WriteBytes(c.Path(name), data)
	})
}

// Get returns the content of name.
func (c *Customisations) Get(name string) ([]byte, error) {
	if err := c.exists(name); err != nil {
		return nil, err
	}
	return ReadFile(c.Path(name), maxEntry)
}

// List returns the customisations by name.
func (c *Customisations) List() ([]Entry, error) {
	files, err := os.ReadDir(c.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &fault.Error{Op: "list customisations", Path: c.dir, Err: err}
	}
	var out []Entry
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), entryExt)
		if !ok || f.IsDir() || CheckName(name) != nil {
			continue
		}
		info, err := f.Info()
		if err != nil {
			continue // removed since the folder was read
		}
		out = append(out, Entry{Name: name, Path: c.Path(name), Bytes: info.Size(), Changed: info.ModTime()})
	}
	return out, nil
}

// Names returns the names alone, sorted.
func (c *Customisations) Names() ([]string, error) {
	entries, err := c.List()
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name
	}
	return names, nil
}

// Rename gives a customisation and its versions another name, which must be
// free.
func (c *Customisations) Rename(from, to string) error {
	if err := CheckName(to); err != nil {
		return err
	}
	return c.change(func() error {
		if err := c.exists(from); err != nil {
			return err
		}
		if from == to {
			return nil
		}
		if _, err := os.Lstat(c.Path(to)); err == nil && !strings.EqualFold(from, to) {
			return &fault.Error{Op: "rename customisation", Path: from, Err: fmt.Errorf("%s exists", to), Hint: "crayon rm " + to, Exit: fault.ExitUsage}
		}
		if err := c.clash(to, from); err != nil {
			return err
		}
		// The versions go first, and back if the second step fails: a name
		// is never without its history.
		moved, err := c.moveVersions(from, to)
		if err == nil {
			err = Rename(c.Path(from), c.Path(to))
		}
		if err != nil && moved {
			_, back := c.moveVersions(to, from)
			err = errors.Join(err, back)
		}
		return err
	})
}

// Remove takes a customisation away; its content stays as a version, and Undo
// brings it back.
func (c *Customisations) Remove(name string) error {
	return c.change(func() error {
		if err := c.exists(name); err != nil {
			return err
		}
		return c.keep(name, true)
	})
}

// Versions lists the older contents of a name, newest first. The name need not
// exist any more.
func (c *Customisations) Versions(name string) ([]Version, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(c.versions(name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &fault.Error{Op: "list versions", Path: name, Err: err}
	}
	var out []Version
	for _, f := range files {
		when, err := time.Parse(versionTime, f.Name())
		if err != nil {
			continue
		}
		info, err := f.Info()
		if err != nil {
			continue
		}
		out = append(out, Version{ID: f.Name(), When: when, Bytes: info.Size()})
	}
	slices.Reverse(out) // ReadDir sorts by name, which is by time
	return out, nil
}

// GetVersion returns an older content.
func (c *Customisations) GetVersion(name, id string) ([]byte, error) {
	if err := c.hasVersion(name, id); err != nil {
		return nil, err
	}
	return ReadFile(filepath.Join(c.versions(name), id), maxEntry)
}

// Restore puts an older content back in place; what it replaces becomes a
// version in turn.
func (c *Customisations) Restore(name, id string) error {
	return c.change(func() error { return c.restore(name, id) })
}

// Undo takes back the last Put, Remove, Restore or Undo of a name.
func (c *Customisations) Undo(name string) error {
	return c.change(func() error {
		versions, err := c.Versions(name)
		if err != nil {
			return err
		}
		if len(versions) == 0 {
			return &fault.Error{Op: "undo", Path: name, Err: errors.New("nothing to undo"), Hint: "crayon list", Exit: fault.ExitUsage}
		}
		return c.restore(name, versions[0].ID)
	})
}

func (c *Customisations) restore(name, id string) error {
	data, err := c.GetVersion(name, id)
	if err != nil {
		return err
	}
	if err := c.clash(name, ""); err != nil {
		return err
	}
	if err := c.keep(name, false); err != nil {
		return err
	}
	if err := WriteBytes(c.Path(name), data); err != nil {
		return err
	}
	err = os.Remove(filepath.Join(c.versions(name), id))
	if err != nil && !errors.Is(err, os.ErrNotExist) { // keep may have dropped it as the oldest
		return &fault.Error{Op: "restore version", Path: name, Err: err}
	}
	return nil
}

func (c *Customisations) versions(name string) string {
	return filepath.Join(c.dir, versionsDir, name)
}

// change runs f while no other process changes the folder.
func (c *Customisations) change(f func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	lock, err := Lock(ctx, filepath.Join(c.dir, lockName))
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return f()
}

// exists fails, naming the nearest name, when there is no such customisation.
func (c *Customisations) exists(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	names, err := c.Names()
	if err != nil {
		return err
	}
	if slices.Contains(names, name) {
		return nil
	}
	hint := "crayon list"
	if near := Nearest(name, names); near != "" {
		hint = "did you mean " + near + "?"
	} else if len(names) == 0 {
		hint = "crayon customize " + name + " -f EXAMPLES"
	}
	return &fault.Error{Op: "find customisation", Path: name, Err: fmt.Errorf("there is none of this name: %w", os.ErrNotExist), Hint: hint, Exit: fault.ExitUsage}
}

// clash fails when another name than except is name but for case.
func (c *Customisations) clash(name, except string) error {
	names, err := c.Names()
	if err != nil {
		return err
	}
	for _, n := range names {
		if n != name && n != except && strings.EqualFold(n, name) {
			return &fault.Error{Op: "store customisation", Path: name, Err: fmt.Errorf("%s differs only in case", n), Hint: "use " + n + " or another name", Exit: fault.ExitUsage}
		}
	}
	return nil
}

// keep makes the present content of name, if there is one, its newest version.
func (c *Customisations) keep(name string, remove bool) error {
	from := c.Path(name)
	data, err := os.ReadFile(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &fault.Error{Op: "keep version", Path: name, Err: err}
	}
	versions, err := c.Versions(name)
	if err != nil {
		return err
	}
	// Coarse or set-back clocks must not put the newest below an older one.
	when := time.Now().UTC()
	if len(versions) > 0 && !when.After(versions[0].When) {
		when = versions[0].When.Add(1)
	}
	to := filepath.Join(c.versions(name), when.Format(versionTime))
	if remove {
		if err := MakeDir(c.versions(name)); err != nil {
			return err
		}
		err = Rename(from, to)
	} else {
		err = WriteBytes(to, data)
	}
	if err != nil {
		return err
	}
	for _, v := range versions[min(len(versions), keptVersions-1):] {
		os.Remove(filepath.Join(c.versions(name), v.ID))
	}
	return nil
}

func (c *Customisations) hasVersion(name, id string) error {
	versions, err := c.Versions(name)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(versions, func(v Version) bool { return v.ID == id }) {
		return nil
	}
	return &fault.Error{Op: "find version", Path: name, Err: fmt.Errorf("no version %q: %w", clip(id), os.ErrNotExist), Hint: "crayon show " + name, Exit: fault.ExitUsage}
}

// moveVersions carries the versions of a name over; an older history under the
// new name, of something removed, is set aside with a number.
func (c *Customisations) moveVersions(from, to string) (bool, error) {
	src, dst := c.versions(from), c.versions(to)
	if _, err := os.Lstat(src); errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if !strings.EqualFold(from, to) {
		if _, err := os.Lstat(dst); err == nil {
			if err := os.Rename(dst, fmt.Sprintf("%s.%d", dst, time.Now().UnixNano())); err != nil {
				return false, &fault.Error{Op: "rename customisation", Path: to, Err: err}
			}
		}
	}
	if err := os.Rename(src, dst); err != nil {
		return false, &fault.Error{Op: "rename customisation", Path: from, Err: err}
	}
	return true, nil
}
