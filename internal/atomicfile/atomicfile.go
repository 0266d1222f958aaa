// Package atomicfile writes files whole or not at all.
package atomicfile

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// tempMark is in the name of every unfinished file: .NAME.tmp-RANDOM.
const tempMark = ".tmp-"

// staleTemp is the age at which an unfinished file is the rest of a crash,
// not somebody's write under way.
const staleTemp = 24 * time.Hour

// Write fills a temporary file beside path through fill, syncs it to disk and
// renames it to path. After an error or a panic path is as it was before and
// no temporary file stays; after a kill at most .NAME.tmp-RANDOM remains, which
// a later write removes. The file is as readable as the one it replaces. What
// is no regular file, a pipe say, is written to as it stands.
func Write(path string, fill func(io.Writer) error) error {
	perm := fs.FileMode(0)
	if info, err := os.Stat(path); err == nil {
		perm = info.Mode().Perm()
	}
	return write(path, perm, fill)
}

// WritePrivate is Write of a file that only its owner may read: mode 0600,
// whatever that of the one it replaces.
func WritePrivate(path string, fill func(io.Writer) error) error {
	return write(path, 0o600, fill)
}

// write leaves the mode to the process's mask when perm is 0.
func write(path string, perm fs.FileMode, fill func(io.Writer) error) error {
	dir, base := filepath.Dir(path), filepath.Base(path)
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return errors.New("the path names a folder")
		}
		return through(path, fill)
	}
	sweep(dir, base)
	temp := filepath.Join(dir, "."+base+tempMark+rand.Text())
	mask := perm
	if mask == 0 {
		mask = 0o666
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mask)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			f.Close()
			os.Remove(temp)
		}
	}()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := fill(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if info, err := f.Stat(); err != nil {
		return err
	} else if perm != 0 && info.Mode().Perm() != perm { // the process's mask took some
		if err := f.Chmod(perm); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	done = true
	return syncDir(dir)
}

// through writes to what is no regular file: renaming would replace the device
// or the pipe itself.
func through(path string, fill func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = fill(f)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

// Move renames a finished file to its final place and makes that last: the
// file is synced before, the folder after.
func Move(from, to string) error {
	f, err := os.OpenFile(from, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

// IsFull says whether an error means that there is no room for the bytes.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG) || isQuota(err)
}

// Hint is what mends a write to path that failed with err, or "".
func Hint(err error, path string) string {
	dir := filepath.Dir(path)
	switch {
	case IsFull(err):
		return "free some space in " + dir
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Sprintf("make %s writable, or name another folder", dir)
	case errors.Is(err, fs.ErrNotExist):
		return "make the folder " + dir
	}
	return ""
}

// sweep removes what a crashed write of the same file left long ago.
func sweep(dir, base string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "."+base+tempMark) {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > staleTemp {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
