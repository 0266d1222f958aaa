package store

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"crayon/internal/fault"
)

// tempMark is in the name of every unfinished file: .NAME.tmp-RANDOM.
const tempMark = ".tmp-"

// staleTemp is the age at which an unfinished file is the rest of a crash,
// not somebody's write under way.
const staleTemp = 24 * time.Hour

// WriteFile replaces path by what write produces, or leaves it as it was:
// the bytes go to a temporary file in the same folder, are synced, renamed
// over path, and the folder is synced. Missing folders are created for the
// owner alone; the file has mode 0600. On any error, a panic included, no
// temporary file stays.
func WriteFile(path string, write func(io.Writer) error) (err error) {
	fail := func(err error) error {
		return &fault.Error{Op: "write file", Path: path, Err: err, Hint: hintFor(err, path)}
	}
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	if base == "" {
		return fail(errors.New("the path names a folder"))
	}
	if err := MakeDir(dir); err != nil {
		return err
	}
	sweep(dir, base)
	f, err := os.CreateTemp(dir, "."+base+tempMark+"*") // 0600
	if err != nil {
		return fail(err)
	}
	done := false
	defer func() {
		if !done {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	w := bufio.NewWriterSize(f, 1<<16)
	if err := write(w); err != nil {
		// The caller's own error keeps its place and hint.
		var told *fault.Error
		if errors.As(err, &told) {
			return err
		}
		return fail(err)
	}
	if err := w.Flush(); err != nil {
		return fail(err)
	}
	if err := f.Sync(); err != nil {
		return fail(err)
	}
	if err := f.Close(); err != nil {
		return fail(err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fail(err)
	}
	done = true
	if err := syncDir(dir); err != nil {
		return fail(err)
	}
	return nil
}

// WriteBytes is WriteFile of bytes at hand.
func WriteBytes(path string, data []byte) error {
	return WriteFile(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Rename moves a finished file into its final place and makes the move last:
// the file is synced before, the folder after.
func Rename(from, to string) error {
	fail := func(err error) error {
		return &fault.Error{Op: "move file", Path: to, Err: err, Hint: hintFor(err, to)}
	}
	f, err := os.OpenFile(from, os.O_RDWR, 0)
	if err != nil {
		return fail(err)
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(from, to)
	}
	if err == nil {
		err = syncDir(filepath.Dir(to))
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// ReadFile reads a file of at most limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &fault.Error{Op: "read file", Path: path, Err: err}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	if err != nil {
		return nil, &fault.Error{Op: "read file", Path: path, Err: err}
	}
	return data, nil
}

// IsFull says whether an error means that there is no room for the bytes.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG) || isQuota(err)
}

func hintFor(err error, path string) string {
	switch {
	case IsFull(err):
		return "free some space in " + filepath.Dir(path)
	case errors.Is(err, os.ErrPermission):
		return "make " + filepath.Dir(path) + " writable, or set CRAYON_HOME to another folder"
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
