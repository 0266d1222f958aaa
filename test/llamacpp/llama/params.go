package llama

import (
	"fmt"
	"unsafe"

	"github.com/ebitengine/purego"
)

//lint:file-ignore U1000 the fields that no code names hold the others in place

// The structs of llama.h, field by field. Pointers that are never set here are
// uintptr, so that the garbage collector does not look at C's memory.

type modelParams struct {
	devices, tensorBuftOverrides             uintptr
	nGPULayers                               int32
	splitMode, loadMode, lazyMode            int32
	mainGPU                                  int32
	_                                        int32
	tensorSplit                              uintptr
	progress, progressData                   uintptr
	kvOverrides                              uintptr
	vocabOnly, checkTensors, useExtraBuffers bool
	noHost, noAlloc, loadMTP                 bool
}

type contextParams struct {
	nCtx, nBatch, nUbatch, nSeqMax                      uint32
	nRsSeq, nOutputsMax, nOutputsMaxPerSeq              uint32
	nThreads, nThreadsBatch                             int32
	contextType, ropeScaling, pooling, attention, flash int32
	ropeBase, ropeScale, yarnExt, yarnAttn              float32
	yarnFast, yarnSlow                                  float32
	yarnOriginal                                        uint32
	defrag                                              float32
	evalCallback, evalCallbackData                      uintptr
	typeK, typeV                                        int32
	abortCallback, abortCallbackData                    uintptr
	embeddings, offloadKQV, noPerf, opOffload, swaFull  bool
	kvUnified                                           bool
	samplers                                            uintptr
	nSamplers                                           uint64
	otherContext                                        uintptr
}

type batchStruct struct {
	n      int32
	token  *int32
	embd   *float32
	pos    *int32
	nSeq   *int32
	seq    **int32
	logits *int8
}

type quantizeParams struct {
	threads, fileType, outputType, embeddingType      int32
	allowRequantize, quantizeOutput, onlyCopy, pure   bool
	keepSplit, dryRun                                 bool
	importance, kvOverrides, tensorTypes, pruneLayers uintptr
	maxBuffer                                         uint64
}

// Numbers of llama.h.
const (
	flashOff  = 0
	typeF32   = 0
	logError  = 4
	sizeGuard = 1024 // more than any of the structs
)

// checkSizes compares the size of each struct here with the number of bytes
// that the library's own default-parameters function writes.
func checkSizes(lib uintptr) error {
	for _, s := range []struct {
		symbol      string
		size, align uintptr
	}{
		{"llama_model_default_params", unsafe.Sizeof(modelParams{}), unsafe.Alignof(modelParams{})},
		{"llama_context_default_params", unsafe.Sizeof(contextParams{}), unsafe.Alignof(contextParams{})},
		{"llama_model_quantize_default_params", unsafe.Sizeof(quantizeParams{}), unsafe.Alignof(quantizeParams{})},
	} {
		f, err := purego.Dlsym(lib, s.symbol)
		if err != nil {
			return fmt.Errorf("%s: %w", s.symbol, err)
		}
		got := writtenBytes(f)
		got = (got + s.align - 1) / s.align * s.align
		if got != s.size {
			return fmt.Errorf("%s writes a struct of %d bytes, these bindings have %d: another version of llama.cpp", s.symbol, got, s.size)
		}
	}
	return nil
}

// writtenBytes calls a function that returns a struct in memory, and tells how
// far it wrote: the struct goes where the hidden first argument points, and a
// byte that keeps two different fillings was not written.
func writtenBytes(f uintptr) uintptr {
	var fill [2][]byte
	for i, v := range []byte{0xA5, 0x5A} {
		buf := make([]byte, sizeGuard)
		for j := range buf {
			buf[j] = v
		}
		purego.SyscallN(f, uintptr(unsafe.Pointer(&buf[0])))
		fill[i] = buf
	}
	for n := sizeGuard; n > 0; n-- {
		if fill[0][n-1] != 0xA5 || fill[1][n-1] != 0x5A {
			return uintptr(n)
		}
	}
	return 0
}
