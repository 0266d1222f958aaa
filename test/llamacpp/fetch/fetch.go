// Package fetch gets llama.cpp's prebuilt libraries, checked by digest, from
// the npm package that carries them, through the npm client.
package fetch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"crayon/internal/fault"
)

// Package is the npm package, with its version.
const Package = "@node-llama-cpp/linux-x64@3.22.1"

// tarball is the sha256 of the package as npm delivers it.
const tarball = "0d953e1503d5ab4608d8ed5b739132308c81ac05ffeb760d2a7f30e08a9f90e0"

// libraries are the sha256 of the files that Open always loads.
var libraries = map[string]string{
	"libggml-base.so":    "6c342c8aeb20cb31a18099d6f79de4de6703814d1cfd5c4d754a8643087e486e",
	"libggml.v0.5.0.so":  "41cd5e6ad78b9f0af31a6f80d637d3168e75ff84db14c495de4d3d9c95607444",
	"libllama.v0.5.0.so": "2ecd1d85f68456573a664106a9039366b88231579fd65d9669c9a6ab41374fd4",
}

const (
	inside  = "package/bins/linux-x64" // where the tarball has the libraries
	maxFile = 64 << 20                 // bytes; the largest file has 6 MB
)

// Dir is the folder the libraries belong in: CRAYON_LLAMACPP, which may also
// name a folder that has the unpacked package, or one in the user's cache.
func Dir() (string, error) {
	if d := os.Getenv("CRAYON_LLAMACPP"); d != "" {
		if fi, err := os.Stat(filepath.Join(d, filepath.FromSlash(inside))); err == nil && fi.IsDir() {
			return filepath.Join(d, filepath.FromSlash(inside)), nil
		}
		return d, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", &fault.Error{Op: "find the cache folder", Err: err, Hint: "export CRAYON_LLAMACPP=DIR"}
	}
	return filepath.Join(cache, "crayon", "llamacpp-3.22.1"), nil
}

// Present is the folder and whether the right libraries are in it.
func Present() (string, bool) {
	dir, err := Dir()
	if err != nil {
		return "", false
	}
	return dir, verify(dir) == nil
}

// Libraries gives the folder with the verified libraries, getting them first
// when they are not there. It needs npm only then.
func Libraries(ctx context.Context) (string, error) {
	dir, err := Dir()
	if err != nil {
		return "", err
	}
	if err = verify(dir); err == nil {
		return dir, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return "", &fault.Error{Op: "check llama.cpp", Path: dir, Err: err, Hint: "remove the folder, then go -C test/llamacpp run ./cmd/fetch", Exit: fault.ExitVerify}
	}
	if err := get(ctx, dir); err != nil {
		return "", err
	}
	return dir, nil
}

func verify(dir string) error {
	for name, want := range libraries {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if got := digest(data); got != want {
			return fmt.Errorf("%s has sha256 %s, not %s", name, got, want)
		}
	}
	return nil
}

// get packs the npm package into a folder beside dir and renames its
// libraries' folder to dir, so that a broken run leaves nothing half there.
func get(ctx context.Context, dir string) error {
	bad := func(err error, hint string) error {
		return &fault.Error{Op: "get llama.cpp", Path: Package, Err: err, Hint: hint}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return bad(err, "")
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), ".llamacpp-*")
	if err != nil {
		return bad(err, "")
	}
	defer os.RemoveAll(work)
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "npm", "pack", "--silent", Package)
	cmd.Dir, cmd.Stderr = work, &stderr
	out, err := cmd.Output()
	if err != nil {
		return bad(fmt.Errorf("npm pack: %w: %s", err, strings.TrimSpace(stderr.String())), "install npm, or unpack the package by hand and export CRAYON_LLAMACPP=DIR")
	}
	lines := strings.Fields(string(out))
	if len(lines) == 0 {
		return bad(errors.New("npm pack named no file"), "")
	}
	data, err := os.ReadFile(filepath.Join(work, filepath.Base(lines[len(lines)-1])))
	if err != nil {
		return bad(err, "")
	}
	if got := digest(data); got != tarball {
		return &fault.Error{Op: "get llama.cpp", Path: Package, Err: fmt.Errorf("the tarball has sha256 %s, not %s", got, tarball), Exit: fault.ExitVerify}
	}
	libs := filepath.Join(work, "libs")
	if err := unpack(data, libs); err != nil {
		return bad(err, "")
	}
	if err := verify(libs); err != nil {
		return bad(err, "")
	}
	os.Remove(dir) // an empty folder that the user made for it
	if err := os.Rename(libs, dir); err != nil {
		return bad(err, "")
	}
	return nil
}

// unpack writes the shared libraries of the tarball into dir, flat.
func unpack(data []byte, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return err
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(h.Name, inside+"/")
		if !ok || h.Typeflag != tar.TypeReg || strings.Contains(name, "/") || !strings.Contains(name, ".so") {
			continue
		}
		if h.Size > maxFile {
			return fmt.Errorf("%s has %d bytes", h.Name, h.Size)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o644); err != nil {
			return err
		}
	}
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
