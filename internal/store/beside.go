package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"crayon/internal/fault"
	"crayon/internal/gguf"
)

// besideDir holds large files that customisations name by their sha256.
const besideDir = ".private"

// settling is how long a file beside may wait for the customisation that names it.
const settling = time.Hour

// Beside is where the file of a digest lies or would lie.
func (c *Customisations) Beside(digest string) string {
	return filepath.Join(c.dir, besideDir, filepath.Base(digest))
}

// PutBeside keeps what write writes to the path it is given, and returns its
// sha256, hex, by which a customisation then names it. Files that no content
// and no version names any more are deleted.
func (c *Customisations) PutBeside(write func(path string) error) (digest string, err error) {
	fail := func(err error) error {
		return &fault.Error{Op: "store beside customisation", Path: filepath.Join(c.dir, besideDir), Err: err}
	}
	err = c.change(func() error {
		if err := MakeDir(filepath.Join(c.dir, besideDir)); err != nil {
			return err
		}
		if err := c.sweepBeside(); err != nil {
			return err
		}
		made, err := os.MkdirTemp(filepath.Join(c.dir, besideDir), "new-*")
		if err != nil {
			return fail(err)
		}
		defer os.RemoveAll(made)
		path := filepath.Join(made, "file")
		if err := write(path); err != nil {
			return err
		}
		if digest, err = gguf.Digest(path); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o600); err != nil {
			return fail(err)
		}
		return Rename(path, c.Beside(digest))
	})
	return digest, err
}

// sweepBeside deletes what nothing names. The caller holds the lock.
func (c *Customisations) sweepBeside() error {
	files, err := os.ReadDir(filepath.Join(c.dir, besideDir))
	if err != nil || len(files) == 0 {
		return err
	}
	loose := map[string]bool{}
	for _, f := range files {
		if info, err := f.Info(); err == nil && time.Since(info.ModTime()) > settling {
			loose[f.Name()] = true
		}
	}
	err = filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir() && d.Name() == besideDir:
			return fs.SkipDir
		case d.IsDir() || len(loose) == 0 || strings.HasPrefix(d.Name(), lockName):
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for name := range loose {
			if bytes.Contains(data, []byte(name)) {
				delete(loose, name)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for name := range loose {
		os.RemoveAll(filepath.Join(c.dir, besideDir, name))
	}
	return nil
}
