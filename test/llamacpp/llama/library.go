package llama

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"unsafe"

	"github.com/ebitengine/purego"

	"crayon/internal/fault"
)

// api holds the bound functions.
type api struct {
	backendInit  func()
	loadBackends func(dir string)
	version      func() string
	systemInfo   func() string
	logSet       func(callback, data uintptr)
	modelDefault func() modelParams
	ctxDefault   func() contextParams
	quantDefault func() quantizeParams
	loadModel    func(path string, p modelParams) uintptr
	freeModel    func(model uintptr)
	initContext  func(model uintptr, p contextParams) uintptr
	freeContext  func(ctx uintptr)
	vocab        func(model uintptr) uintptr
	vocabSize    func(vocab uintptr) int32
	tokenize     func(vocab uintptr, text string, textLen int32, tokens *int32, max int32, special, parse bool) int32
	batchInit    func(tokens, embd, seqs int32) batchStruct
	batchFree    func(b batchStruct)
	decode       func(ctx uintptr, b batchStruct) int32
	logits       func(ctx uintptr, i int32) *float32
	memory       func(ctx uintptr) uintptr
	memoryClear  func(mem uintptr, data bool)
	seqRemove    func(mem uintptr, seq, from, to int32) bool
	seqCopy      func(mem uintptr, from, to, first, end int32)
	adapterInit  func(model uintptr, path string) uintptr
	adapterFree  func(adapter uintptr)
	setAdapters  func(ctx uintptr, adapters *uintptr, n uint64, scales *float32) int32
	quantize     func(in, out string, p *quantizeParams) uint32
}

// Library is llama.cpp loaded into this process. A process has at most one,
// and it stays until the process ends.
type Library struct {
	api
	dir string
}

var loaded struct {
	sync.Mutex
	lib *Library
}

// messages keeps the last error lines that llama.cpp logged.
var messages struct {
	sync.Mutex
	lines []string
}

// Open loads the libraries in dir (libggml-base.so*, libggml.*so*,
// libllama.*so*, and the libggml-cpu-*.so of which the best for this CPU is
// taken). A second call with the same dir gives the same Library.
func Open(dir string) (*Library, error) {
	bad := func(err error, hint string) error {
		return &fault.Error{Op: "load llama.cpp", Path: dir, Err: err, Hint: hint}
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		return nil, bad(fmt.Errorf("%s/%s: the bindings are for linux/amd64", runtime.GOOS, runtime.GOARCH), "")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, bad(err, "")
	}
	loaded.Lock()
	defer loaded.Unlock()
	if loaded.lib != nil {
		if loaded.lib.dir != dir {
			return nil, bad(fmt.Errorf("this process already loaded %s", loaded.lib.dir), "")
		}
		return loaded.lib, nil
	}
	handles := make([]uintptr, 3)
	for i, pattern := range []string{"libggml-base.so*", "libggml.*so*", "libllama.*so*"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern))
		if len(found) == 0 {
			return nil, bad(fmt.Errorf("no %s", pattern), "go -C test/llamacpp run ./cmd/fetch")
		}
		if handles[i], err = purego.Dlopen(found[0], purego.RTLD_NOW|purego.RTLD_GLOBAL); err != nil {
			return nil, bad(err, "")
		}
	}
	ggml, llama := handles[1], handles[2]
	lib := &Library{dir: dir}
	for _, f := range []struct {
		handle uintptr
		fn     any
		symbol string
	}{
		{llama, &lib.backendInit, "llama_backend_init"},
		{ggml, &lib.loadBackends, "ggml_backend_load_all_from_path"},
		{llama, &lib.version, "llama_version"},
		{llama, &lib.systemInfo, "llama_print_system_info"},
		{llama, &lib.logSet, "llama_log_set"},
		{llama, &lib.modelDefault, "llama_model_default_params"},
		{llama, &lib.ctxDefault, "llama_context_default_params"},
		{llama, &lib.quantDefault, "llama_model_quantize_default_params"},
		{llama, &lib.loadModel, "llama_model_load_from_file"},
		{llama, &lib.freeModel, "llama_model_free"},
		{llama, &lib.initContext, "llama_init_from_model"},
		{llama, &lib.freeContext, "llama_free"},
		{llama, &lib.vocab, "llama_model_get_vocab"},
		{llama, &lib.vocabSize, "llama_vocab_n_tokens"},
		{llama, &lib.tokenize, "llama_tokenize"},
		{llama, &lib.batchInit, "llama_batch_init"},
		{llama, &lib.batchFree, "llama_batch_free"},
		{llama, &lib.decode, "llama_decode"},
		{llama, &lib.logits, "llama_get_logits_ith"},
		{llama, &lib.memory, "llama_get_memory"},
		{llama, &lib.memoryClear, "llama_memory_clear"},
		{llama, &lib.seqRemove, "llama_memory_seq_rm"},
		{llama, &lib.seqCopy, "llama_memory_seq_cp"},
		{llama, &lib.adapterInit, "llama_adapter_lora_init"},
		{llama, &lib.adapterFree, "llama_adapter_lora_free"},
		{llama, &lib.setAdapters, "llama_set_adapters_lora"},
		{llama, &lib.quantize, "llama_model_quantize"},
	} {
		if _, err := purego.Dlsym(f.handle, f.symbol); err != nil {
			return nil, bad(fmt.Errorf("no symbol %s: %w", f.symbol, err), "")
		}
		purego.RegisterLibFunc(f.fn, f.handle, f.symbol)
	}
	if err := checkSizes(llama); err != nil {
		return nil, bad(err, "go -C test/llamacpp run ./cmd/fetch")
	}
	lib.logSet(purego.NewCallback(keepMessage), 0)
	lib.loadBackends(dir)
	lib.backendInit()
	loaded.lib = lib
	return lib, nil
}

// Version is llama.cpp's own, such as "0.5.0".
func (l *Library) Version() string { return l.version() }

// SystemInfo is llama.cpp's line on the instruction sets in use.
func (l *Library) SystemInfo() string { return strings.TrimSpace(l.systemInfo()) }

// keepMessage is the log callback; it must not panic and returns nothing of use.
func keepMessage(level int32, text *byte, _ uintptr) uintptr {
	if level != logError || text == nil {
		return 0
	}
	line := strings.TrimSpace(cString(text))
	messages.Lock()
	defer messages.Unlock()
	messages.lines = append(messages.lines, line)
	if n := len(messages.lines); n > 8 {
		messages.lines = messages.lines[n-8:]
	}
	return 0
}

// reason empties the kept error lines into one error.
func reason(fallback string) error {
	messages.Lock()
	defer messages.Unlock()
	lines := messages.lines
	messages.lines = nil
	if len(lines) == 0 {
		return fmt.Errorf("%s", fallback)
	}
	return fmt.Errorf("%s: %s", fallback, strings.Join(lines, "; "))
}

func cString(p *byte) string {
	n := 0
	for *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return string(unsafe.Slice(p, n))
}
