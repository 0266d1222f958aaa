package store

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"crayon/internal/atomicfile"
	"crayon/internal/fault"
)

// WriteFile replaces path by what write produces, or leaves it as it was; see
// atomicfile. Missing folders are created for the owner alone; the file has
// mode 0600.
func WriteFile(path string, write func(io.Writer) error) error {
	fail := func(err error) error {
		return &fault.Error{Op: "write file", Path: path, Err: err, Hint: hintFor(err, path)}
	}
	if strings.HasSuffix(path, string(filepath.Separator)) {
		return fail(errors.New("the path names a folder"))
	}
	if err := MakeDir(filepath.Dir(path)); err != nil {
		return err
	}
	err := atomicfile.WritePrivate(path, write)
	// The caller's own error keeps its place and hint.
	if told := (*fault.Error)(nil); err == nil || errors.As(err, &told) {
		return err
	}
	return fail(err)
}

// WriteBytes is WriteFile of bytes at hand.
func WriteBytes(path string, data []byte) error {
	return WriteFile(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Rename moves a finished file into its final place and makes the move last.
func Rename(from, to string) error {
	if err := atomicfile.Move(from, to); err != nil {
		return &fault.Error{Op: "move file", Path: to, Err: err, Hint: hintFor(err, to)}
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

func hintFor(err error, path string) string {
	if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return "make " + filepath.Dir(path) + " writable, or set CRAYON_HOME to another folder"
	}
	return atomicfile.Hint(err, path)
}
