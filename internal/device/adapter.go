package device

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"crayon/internal/adapter"
	"crayon/internal/arch"
	"crayon/internal/chat"
	"crayon/internal/fault"
	"crayon/internal/gguf"
	"crayon/internal/pool"
	"crayon/internal/task"
)

// LeastEffect is the Effect below which an adapter counts as doing nothing:
// quantised arithmetic repeats exactly, so any working adapter is far above it.
const LeastEffect = 1e-4

// prepareAdapter readies the model with one adapter of anybody's in the pool's
// place. The prompt form is the model's own, with which such an adapter was trained.
func (d *Device) prepareAdapter(ctx context.Context, f *gguf.File, path string) error {
	one, err := ReadAdapter(path, d.Model.Config)
	if err != nil {
		exit := fault.ExitVerify
		if errors.Is(err, os.ErrNotExist) {
			exit = fault.ExitUsage
		}
		return &fault.Error{Op: "use adapter", Path: path, Err: err, Exit: exit,
			Hint: "--adapter takes a PEFT folder (adapter_config.json, adapter_model.safetensors) or a GGUF LoRA file of this model"}
	}
	stack, err := adapter.NewStack([]*adapter.Adapter{one})
	if err != nil {
		return err
	}
	if err := d.ownForm(f); err != nil {
		return err
	}
	d.Pool = pool.Bare(d.Lineage, d.Model.Config)
	d.beside.first = stack
	row := stack.RowWeights([]float32{1})
	effect, err := d.Effect(ctx, row)
	if err != nil {
		return err
	}
	if !(effect >= LeastEffect) || math.IsInf(effect, 0) {
		return &fault.Error{Op: "use adapter", Path: path, Err: fmt.Errorf("it changes nothing on this model, or breaks it (probe moved by %.2g)", effect),
			Hint: "is it trained, and for this very model?", Exit: fault.ExitVerify}
	}
	d.Adapter, d.own = one.Name, row
	return nil
}

// ownForm takes the model's own prompt form.
func (d *Device) ownForm(f *gguf.File) error {
	own, err := chat.FromGGUF(f)
	d.Form = task.Form{Tokenizer: d.Tokenizer, Template: own, End: d.Tokenizer.EOS()}
	return err
}

// ReadAdapter reads a PEFT folder or a GGUF LoRA file, for a model of shape c.
func ReadAdapter(path string, c arch.Config) (*adapter.Adapter, error) {
	path, err := filepath.Abs(path) // "." has a name too
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, errors.Unwrap(err)
	case st.IsDir():
		return adapter.ReadPEFT(path, c)
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".safetensors", ".json", ".bin":
		return nil, &fault.Error{Op: "read adapter", Err: errors.New("it is one file of a PEFT folder; the folder is wanted"), Hint: "--adapter " + filepath.Dir(path)}
	}
	return adapter.ReadGGUF(path, c)
}

// row is the row to answer with: where none is asked for, that of the adapter,
// if there is one.
func (d *Device) row(asked []float32) []float32 {
	if asked == nil {
		return d.own
	}
	return asked
}
