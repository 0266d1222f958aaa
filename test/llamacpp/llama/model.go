package llama

import (
	"fmt"

	"crayon/internal/fault"
)

// Model is one loaded GGUF file. Not for concurrent use.
type Model struct {
	lib    *Library
	handle uintptr
	vocab  uintptr
	path   string
}

// Load opens a model file with llama.cpp's defaults for a CPU, which repack
// weights into its faster layouts.
func (l *Library) Load(path string) (*Model, error) {
	p := l.modelDefault()
	p.nGPULayers = 0
	h := l.loadModel(path, p)
	if h == 0 {
		return nil, &fault.Error{Op: "load model into llama.cpp", Path: path, Err: reason("refused")}
	}
	return &Model{lib: l, handle: h, vocab: l.vocab(h), path: path}, nil
}

// Close frees the model; its contexts and adapters must be closed before.
func (m *Model) Close() {
	if m.handle != 0 {
		m.lib.freeModel(m.handle)
		m.handle = 0
	}
}

// Vocab is the number of tokens, the length of a row of logits.
func (m *Model) Vocab() int { return int(m.lib.vocabSize(m.vocab)) }

// Tokenize encodes text without adding BOS; special tells whether special
// tokens written in the text become their ids.
func (m *Model) Tokenize(text string, special bool) ([]int32, error) {
	ids := make([]int32, len(text)+8) // never more tokens than bytes
	n := m.lib.tokenize(m.vocab, text, int32(len(text)), &ids[0], int32(len(ids)), false, special)
	if n < 0 {
		return nil, &fault.Error{Op: "tokenize", Path: m.path, Err: fmt.Errorf("%d tokens did not fit %d", -n, len(ids))}
	}
	return ids[:n], nil
}

// Adapter is a LoRA adapter loaded beside a model.
type Adapter struct {
	lib    *Library
	handle uintptr
}

// LoadAdapter reads a GGUF LoRA adapter made for this model.
func (m *Model) LoadAdapter(path string) (*Adapter, error) {
	h := m.lib.adapterInit(m.handle, path)
	if h == 0 {
		return nil, &fault.Error{Op: "load adapter into llama.cpp", Path: path, Err: reason("refused")}
	}
	return &Adapter{lib: m.lib, handle: h}, nil
}

// Close frees the adapter; no context may use it any more.
func (a *Adapter) Close() {
	if a.handle != 0 {
		a.lib.adapterFree(a.handle)
		a.handle = 0
	}
}

// FileType is llama.cpp's number for the type of most tensors of a file.
type FileType int32

// FileQ4_0 is the type that llama.cpp runs fastest on most CPUs.
const FileQ4_0 FileType = 2

// Quantize rewrites the model file in as out with most tensors of type t, as
// llama.cpp's own tool does; from an already quantised file too.
func (l *Library) Quantize(in, out string, t FileType, threads int) error {
	p := l.quantDefault()
	p.fileType = int32(t)
	p.threads = int32(threads)
	p.allowRequantize = true
	if rc := l.quantize(in, out, &p); rc != 0 {
		return &fault.Error{Op: "requantise with llama.cpp", Path: in, Err: reason(fmt.Sprintf("code %d", rc))}
	}
	return nil
}
