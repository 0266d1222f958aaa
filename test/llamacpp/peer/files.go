package peer

import (
	"fmt"
	"os"
	"path/filepath"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/oracle"
	"crayon/test/llamacpp/llama"
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
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", &fault.Error{Op: "find model", Path: alias, Err: err, Hint: "crayon pull " + alias, Exit: fault.ExitUsage}
	}
	if form == SameFile {
		return path, nil
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

// adapterTypes are the names that a Contender may store adapters as.
var adapterTypes = map[string]gguf.Type{"": gguf.F32, "F32": gguf.F32, "F16": gguf.F16, "Q8_0": gguf.Q8_0}

// adapters are the files of a row's random adapters, stored as the type named,
// with their scales; merged into one if the row wants that.
func (f *files) adapters(alias string, a Adapters, merged bool, storedAs string) (paths []string, scales []float32, err error) {
	t, ok := adapterTypes[storedAs]
	if !ok {
		return nil, nil, fmt.Errorf("no adapter file of type %q", storedAs)
	}
	base := filepath.Join(f.dir, fmt.Sprintf("%s-%dx%d-%v", alias, len(a.Scales), a.Rank, t))
	if merged {
		paths, scales = []string{base + "-merged.gguf"}, []float32{1}
	} else {
		for k := range a.Scales {
			paths = append(paths, fmt.Sprintf("%s-%d.gguf", base, k))
		}
		scales = a.Scales
	}
	if _, err := os.Stat(paths[len(paths)-1]); err == nil {
		return paths, scales, nil
	}
	all, c, err := f.random(alias, a, merged)
	if err != nil {
		return nil, nil, err
	}
	for i, x := range all {
		if err := adapter.WriteGGUFAs(paths[i], x, c, t); err != nil {
			return nil, nil, err
		}
	}
	return paths, scales, nil
}

// random makes a row's adapters for the model of an alias. What they compute
// does not matter here, only that it is not zero.
func (f *files) random(alias string, a Adapters, merged bool) ([]*adapter.Adapter, arch.Config, error) {
	path, err := f.model(alias, SameFile)
	if err != nil {
		return nil, arch.Config{}, err
	}
	g, err := gguf.Open(path)
	if err != nil {
		return nil, arch.Config{}, err
	}
	defer g.Close()
	c, err := arch.FromGGUF(g)
	if err != nil {
		return nil, c, err
	}
	all := oracle.RandomAdapters(c, len(a.Scales), a.Rank, Seed, 0.01)
	if merged {
		stack, err := adapter.NewStack(all)
		if err != nil {
			return nil, c, err
		}
		all = []*adapter.Adapter{stack.Merge(a.Scales, "random-merged")}
	}
	return all, c, nil
}
