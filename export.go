package crayon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"crayon/internal/adapter"
	"crayon/internal/fault"
	"crayon/internal/store"
)

// The formats of Export.
const (
	FormatPEFT = "peft" // a folder for Hugging Face's peft
	FormatGGUF = "gguf" // a LoRA file for llama.cpp and what is built on it
)

// Exported says what Export wrote.
type Exported struct {
	Name     string   `json:"name"`
	Format   string   `json:"format"`
	Files    []string `json:"files"`
	Rank     int      `json:"rank"`
	Adapters int      `json:"adapters"` // that went into the one
	Residual float64  `json:"residual"` // of the file as read back, relative to the exact blend (Frobenius)
	Base     string   `json:"base"`
}

// Export writes a customisation as one ordinary adapter of the base model, all
// weights and scales folded in, reads it back, and says how far that is from
// the exact blend, a private adapter included. How a plan weighs scores is no part
// of an adapter. No model is needed, only the pool the customisation is from.
func (l *Library) Export(ctx context.Context, custom *Customisation, p *Pool, format, dir string) (*Exported, error) {
	fail := func(err error, hint string) error {
		return &fault.Error{Op: "export", Path: custom.Name, Err: err, Hint: hint, Exit: fault.ExitUsage}
	}
	var err error
	if format != FormatPEFT && format != FormatGGUF {
		near := store.Nearest(format, []string{FormatPEFT, FormatGGUF})
		if near == "" {
			near = FormatPEFT
		}
		return nil, fail(fmt.Errorf("format %q: want peft or gguf", format), "--format "+near)
	}
	if p, err = custom.PoolOf(p); err != nil {
		return nil, err
	}
	all, members, err := custom.Stack(p)
	if err != nil {
		return nil, err
	}
	stack, weights := all.Keep(members)
	if stack.Rank == 0 {
		return nil, fail(errors.New("all its weights are zero"), "crayon customize "+custom.Name+" -f EXAMPLES")
	}
	exact := stack.Merge(weights, custom.Name)
	if err := custom.Fetch(p.Base.Shape); err != nil {
		return nil, err
	}
	if custom.Plan != nil && custom.Plan.Private != nil {
		both, err := adapter.NewStack([]*adapter.Adapter{exact, custom.Plan.Private})
		if err != nil {
			return nil, err
		}
		exact = both.Merge([]float32{1, 1}, custom.Name)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, &fault.Error{Op: "export", Path: dir, Err: err, Hint: "name a folder you may write to with --dir"}
	}
	shape := p.Base.Shape
	out := &Exported{Name: custom.Name, Format: format, Rank: exact.Rank(), Adapters: stack.Adapters, Base: p.Base.Name}
	var back *adapter.Adapter
	if format == FormatPEFT {
		if err := adapter.WritePEFT(dir, exact, shape, baseRepository(p.Base.Name)); err != nil {
			return nil, err
		}
		out.Files = []string{filepath.Join(dir, "adapter_config.json"), filepath.Join(dir, "adapter_model.safetensors")}
		back, err = adapter.ReadPEFT(dir, shape)
	} else {
		path := filepath.Join(dir, custom.Name+"-lora.gguf")
		if err := adapter.WriteGGUF(path, exact, shape); err != nil {
			return nil, err
		}
		out.Files = []string{path}
		back, err = adapter.ReadGGUF(path, shape)
	}
	if err != nil {
		return nil, err
	}
	out.Residual = adapter.Residual(exact, back)
	return out, nil
}

// baseRepository is the hub's name of a base model, which PEFT wants to know.
func baseRepository(name string) string {
	if strings.HasPrefix(name, "smollm2-135m") {
		return "HuggingFaceTB/SmolLM2-135M-Instruct"
	}
	return name
}
