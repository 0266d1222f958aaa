package peer

import (
	"fmt"
	"os"
	"path/filepath"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/gguf"
	"crayon/internal/oracle"
	"crayon/test/llamacpp/llama"
	"crayon/test/llamacpp/retype"
)

// files makes the files that rows need beside the models, in one folder, each
// once a run.
type files struct {
	dir     string
	lib     string // folder of llama.cpp
	threads int
}

// model is the file of an alias in the form that a contender wants.
func (f *files) model(alias, form string) (string, error) {
	path, err := oracle.ModelPath(alias)
	if err != nil || form == SameFile {
		return path, err
	}
	if form != Q4_0File {
		return "", fmt.Errorf("no model file of form %q", form)
	}
	out := filepath.Join(f.dir, alias+"-q4_0.gguf")
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	lib, err := llama.Open(f.lib)
	if err != nil {
		return "", err
	}
	return out, lib.Quantize(path, out, llama.FileQ4_0, f.threads)
}

// adapters are the files of a row's random adapters, stored as the type named
// ("" is F32), with their scales; merged into one if the row wants that.
func (f *files) adapters(alias string, a Adapters, merged bool, storedAs string) (paths []string, scales []float32, err error) {
	base := filepath.Join(f.dir, fmt.Sprintf("%s-%dx%d", alias, len(a.Scales), a.Rank))
	scales = a.Scales
	if merged {
		scales = []float32{1}
	}
	for k := range scales {
		path := fmt.Sprintf("%s-%d.gguf", base, k)
		if merged {
			path = base + "-merged.gguf"
		}
		paths = append(paths, path)
	}
	if _, err := os.Stat(paths[0]); err != nil {
		if err := f.writeAdapters(alias, a, merged, paths); err != nil {
			return nil, nil, err
		}
	}
	if storedAs == "" || storedAs == "F32" {
		return paths, scales, nil
	}
	to := gguf.F16
	if storedAs == "Q8_0" {
		to = gguf.Q8_0
	}
	for i, path := range paths {
		paths[i] = path + "." + storedAs
		if _, err := os.Stat(paths[i]); err == nil {
			continue
		}
		if err := retype.File(path, paths[i], to); err != nil {
			return nil, nil, err
		}
	}
	return paths, scales, nil
}

// writeAdapters makes random adapters as F32 files. What they compute does not
// matter here, only that it is not zero.
func (f *files) writeAdapters(alias string, a Adapters, merged bool, paths []string) error {
	model, err := f.model(alias, SameFile)
	if err != nil {
		return err
	}
	g, err := gguf.Open(model)
	if err != nil {
		return err
	}
	defer g.Close()
	c, err := arch.FromGGUF(g)
	if err != nil {
		return err
	}
	all := oracle.RandomAdapters(c, len(a.Scales), a.Rank, Seed, 0.01)
	if merged {
		stack, err := adapter.NewStack(all)
		if err != nil {
			return err
		}
		all = []*adapter.Adapter{stack.Merge(a.Scales, "random-merged")}
	}
	for i, x := range all {
		if err := adapter.WriteGGUF(paths[i], x, c); err != nil {
			return err
		}
	}
	return nil
}
