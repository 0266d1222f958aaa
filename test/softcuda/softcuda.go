// Package softcuda builds the stand-in for NVIDIA's libraries, so that tests
// run CUDA kernels where there is no GPU. See README.md.
package softcuda

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

//go:embed src
var sources embed.FS

var libraries = []struct{ name, source string }{
	{"libcuda.so.1", "cuda.cpp"}, {"libnvrtc.so.13", "nvrtc.cpp"}, {"libcublas.so.13", "cublas.cpp"}, {"libnccl.so.2", "nccl.cpp"},
}

var build = sync.OnceValues(assemble)

// Build returns the folder that holds the libraries, for CRAYON_CUDA_LIBS. They
// are built once for their content, in the user's cache folder. Without g++, or
// on another system than Linux on amd64 or arm64, the test is skipped.
func Build(t testing.TB) string {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" && runtime.GOARCH != "arm64" {
		t.Skip("soft CUDA is for Linux on amd64 and arm64")
	}
	if _, err := exec.LookPath("g++"); err != nil {
		t.Skip("soft CUDA needs g++: apt-get install g++")
	}
	folder, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

// Use builds the libraries and lets this test's process, and those it starts,
// load them.
func Use(t testing.TB) {
	t.Helper()
	t.Setenv("CRAYON_CUDA_LIBS", Build(t))
}

func assemble() (string, error) {
	version, err := exec.Command("g++", "--version").Output()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write(version)
	files := map[string][]byte{}
	err = fs.WalkDir(sources, "src", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := sources.ReadFile(path)
		files[d.Name()] = data
		fmt.Fprintf(h, "%s %d\n%s", path, len(data), data)
		return err
	})
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	folder := filepath.Join(cache, "crayon-softcuda", hex.EncodeToString(h.Sum(nil)[:12]))
	if _, err := os.Stat(folder); err == nil {
		return folder, nil
	}
	if err := os.MkdirAll(filepath.Dir(folder), 0o700); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(folder), "build-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(work, name), data, 0o600); err != nil {
			return "", err
		}
	}
	for _, l := range libraries {
		args := []string{"-std=c++17", "-O2", "-fPIC", "-shared", "-U_FORTIFY_SOURCE", "-pthread", "-o", l.name, l.source, "-Wl,-soname," + l.name, "-Wl,-rpath,$ORIGIN", "-Wl,-z,defs"}
		if l.source != "cuda.cpp" && l.source != "nvrtc.cpp" {
			args = append(args, "libcuda.so.1")
		}
		cmd := exec.Command("g++", append(args, "-ldl")...)
		cmd.Dir = work
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", l.name, err, out)
		}
	}
	// Another test's process may have been faster; its folder is the same.
	if err := os.Rename(work, folder); err != nil {
		if _, there := os.Stat(folder); there != nil {
			return "", err
		}
	}
	return folder, nil
}
