// Package record keeps what routing leaves behind: a customisation's
// calibration, the log of decisions, and answers of the server that may become
// examples.
package record

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"crayon/internal/fault"
	"crayon/internal/route/calibrate"
	"crayon/internal/store"
)

// Folder is where it is kept; files are its owner's alone. Safe for concurrent
// use, also by several processes.
type Folder struct {
	dir string
	mu  sync.Mutex // of the log
}

// Open uses a folder, which is made when something is kept.
func Open(dir string) *Folder { return &Folder{dir: dir} }

// Dir is the folder.
func (f *Folder) Dir() string { return f.dir }

// mostCalibration bounds a stored calibration, in bytes.
const mostCalibration = 16 << 20

// CalibrationPath is where a customisation's calibration lies or would lie.
func (f *Folder) CalibrationPath(name string) string {
	return filepath.Join(f.dir, filepath.Base(name)+".calibration.json")
}

// Calibration reads that of a customisation, with an id of its content; nil
// where there is none.
func (f *Folder) Calibration(name string) (c *calibrate.Calibration, id string, err error) {
	path := f.CalibrationPath(name)
	data, err := store.ReadFile(path, mostCalibration)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	c, err = calibrate.Parse(path, data)
	return c, ID(data), err
}

// ID names a stored calibration by its content.
func ID(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6])
}

// PutCalibration stores a calibration in the place of what was there.
func (f *Folder) PutCalibration(name string, c *calibrate.Calibration) error {
	data, err := c.Marshal()
	if err != nil {
		return &fault.Error{Op: "store calibration", Path: name, Err: err}
	}
	if err := store.MakeDir(f.dir); err != nil {
		return err
	}
	return store.WriteBytes(f.CalibrationPath(name), data)
}

// RemoveCalibration takes a calibration away; it is no error if there is none.
func (f *Folder) RemoveCalibration(name string) error {
	err := os.Remove(f.CalibrationPath(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fault.Error{Op: "remove calibration", Path: name, Err: err}
	}
	return nil
}

// Rename gives what is kept of a customisation another name, in the place of
// what that may have had.
func (f *Folder) Rename(from, to string) error {
	for _, at := range []func(string) string{f.CalibrationPath, f.CandidatesPath} {
		err := store.Rename(at(from), at(to))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
